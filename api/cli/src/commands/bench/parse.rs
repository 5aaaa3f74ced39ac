//! `custody bench parse`: native records to masked events in a buffer, on one thread.
//!
//! The baseline finds the end of every line of the same bytes and does nothing else, which no
//! reader can do without. Not here: files and journals (`collect`).

use std::time::{Duration, Instant};

use clap::Args;
use collectors_formats::{Format, FormatKeys, Step, format_for};
use ledger_log::bench::measure::{percentile, rss_mib};
use rustix::time::{ClockId, clock_gettime};

use super::figures::Figures;
use super::native::NativeForm;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// How much.
#[derive(Args, Debug)]
pub struct ParseArgs {
    /// Records of each form
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    entries: u64,
    /// This form alone
    #[arg(long, value_name = "FORM")]
    form: Option<NativeForm>,
}

/// Different records of a run; they are read again and again.
const POOL: u64 = 20_000;
/// Bytes that are given to a format at once, as an agent does.
const WINDOW: usize = 256 << 10;
/// Records whose times are taken one by one.
const SINGLES: usize = 10_000;

/// Runs it.
///
/// # Errors
/// A form that this build does not have.
pub(super) fn run(args: &ParseArgs, context: &Context) -> Result<Exit, CommandError> {
    let forms = args
        .form
        .map_or(NativeForm::ALL.to_vec(), |form| vec![form]);
    let mut all = Figures {
        name: "parse".to_owned(),
        ..Figures::default()
    };
    let (mut cpu, mut raw) = (0.0, 0.0);
    for form in forms {
        context.output.say(form.name());
        let figures = measured(form, args.entries)?;
        let entries = figures.entries as f64;
        all.entries += figures.entries;
        all.seconds += figures.seconds;
        all.record_bytes += figures.record_bytes * entries;
        all.event_bytes += figures.event_bytes * entries;
        cpu += figures.cpu_us_per * entries;
        raw += entries / figures.raw_per_s;
        all.p50_us = all.p50_us.max(figures.p50_us);
        all.p99_us = all.p99_us.max(figures.p99_us);
        let own = format!("{} CPU", figures.name);
        all.stages.insert(own, figures.cpu_us_per);
        all.forms.push(figures);
    }
    let entries = all.entries as f64;
    all.record_bytes /= entries;
    all.event_bytes /= entries;
    all.per_s = entries / all.seconds;
    all.cpu_us_per = cpu / entries;
    all.raw_per_s = entries / raw;
    all.ratio = all.per_s / all.raw_per_s;
    all.rss_mib = rss_mib().map_err(CommandError::file("reading", "/proc/self".as_ref()))?;
    all.print(context)?;
    Ok(Exit::Done)
}

/// The figures of one form.
pub(super) fn measured(form: NativeForm, entries: u64) -> Result<Figures, CommandError> {
    let text = form.text(100_000, POOL.min(entries));
    let bytes = text.as_bytes();
    let rounds = entries.div_ceil(POOL.min(entries));
    let made = || {
        let settings = [("form".to_owned(), form.name().to_owned())];
        let keys = FormatKeys {
            digest_key: [7; 32],
        };
        format_for(form.platform(), &settings, &keys)
            .map_err(|error| CommandError::Usage(error.to_string()))
    };
    // Not counted: caches and branch predictors get to know the bytes.
    let (records, event_bytes) = read(&mut *made()?, bytes, &mut |_| ());
    let (begun, cpu) = (Instant::now(), thread_cpu());
    for _ in 0..rounds {
        read(&mut *made()?, bytes, &mut |_| ());
    }
    let (spent, cpu) = (begun.elapsed().as_secs_f64(), thread_cpu() - cpu);
    let begun = Instant::now();
    let mut lines = 0;
    for _ in 0..rounds {
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }
    let raw = begun.elapsed().as_secs_f64();
    // INVARIANT: a record a line, or the two loops do not measure the same.
    assert_eq!(lines, records * rounds, "every line is a record");
    let mut times = Vec::with_capacity(SINGLES);
    let mut last = Instant::now();
    read(&mut *made()?, bytes, &mut |times_left: bool| {
        let now = Instant::now();
        if times_left && times.len() < SINGLES {
            times.push(now - last);
        }
        last = now;
    });
    let entries = records * rounds;
    let count = entries as f64;
    Ok(Figures {
        name: form.name().to_owned(),
        entries,
        record_bytes: bytes.len() as f64 / records as f64,
        event_bytes: event_bytes as f64 / records as f64,
        seconds: spent,
        per_s: count / spent,
        cpu_us_per: cpu.as_secs_f64() * 1e6 / count,
        raw_per_s: count / raw,
        ratio: raw / spent,
        p50_us: percentile(&mut times, 50),
        p99_us: percentile(&mut times, 99),
        rss_mib: rss_mib().map_err(CommandError::file("reading", "/proc/self".as_ref()))?,
        ..Figures::default()
    })
}

/// Reads all records; `each` hears of every one. Gives their count and the bytes of their events.
fn read(format: &mut dyn Format, bytes: &[u8], each: &mut dyn FnMut(bool)) -> (u64, u64) {
    let (mut records, mut event_bytes) = (0, 0);
    let (mut at, mut end) = (0, WINDOW.min(bytes.len()));
    let mut json = Vec::with_capacity(4096);
    loop {
        let window = bytes.get(at..end).unwrap_or_default();
        match format.next(window, end == bytes.len()) {
            Step::Record { consumed, event } | Step::Unparsed { consumed, event } => {
                json.clear();
                event.write_json(&mut json);
                records += 1;
                event_bytes += json.len() as u64;
                at += consumed;
                each(true);
            }
            Step::Skip { consumed } => at += consumed,
            Step::NeedMore if end == bytes.len() => return (records, event_bytes),
            Step::NeedMore => end = (end + WINDOW).min(bytes.len()),
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_measurement_reads_every_record_of_every_form() {
        for form in NativeForm::ALL {
            let figures = measured(form, 1000).unwrap();
            assert_eq!(figures.entries, 1000);
            let wanted = [
                figures.per_s,
                figures.ratio,
                figures.p99_us,
                figures.event_bytes,
            ];
            assert!(wanted.iter().all(|figure| *figure > 0.0), "{figures:?}");
        }
    }
}
