//! `custody bench append`: what this machine can append, beside a raw loop that does the same work
//! on the same bytes in the same run. Works in a folder of its own below TMPDIR, without settings.
//!
//! Not here: the measuring (ledger/log).

use clap::Args;
use ledger_log::bench::{AppendPlan, AppendResult, append};

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::count;

/// How much.
#[derive(Args, Debug)]
pub struct AppendArgs {
    /// Events of the throughput run
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    entries: u64,
    /// Events of a batch
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
}

/// Runs it.
///
/// # Errors
/// A folder that cannot be written, a log that stopped.
pub(super) fn run(args: &AppendArgs, context: &Context) -> Result<Exit, CommandError> {
    let plan = AppendPlan {
        entries: args.entries,
        batch: usize::from(args.batch),
        ..AppendPlan::default()
    };
    let result =
        super::in_a_folder(|folder| Ok(append(folder, &plan, &|step| context.output.say(step))?))?;
    let printed = if context.output.is_json() {
        context.output.json(&result)
    } else {
        context.output.fields(&fields(&result))
    };
    printed.map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

fn fields(result: &AppendResult) -> Vec<(&str, String)> {
    let entries = count(result.entries);
    let recovered = count(result.recovery_entries);
    let mut fields = vec![
        (
            "entries",
            format!("{entries} of {:.0} bytes", result.event_bytes),
        ),
        (
            "durable",
            format!("{:.0} a second, in {:.2} s", result.per_s, result.seconds),
        ),
        (
            "raw loop",
            format!(
                "{:.0} a second, ratio {:.2}",
                result.raw_per_s, result.ratio
            ),
        ),
        ("CPU", format!("{} an event", us(result.cpu_us_per))),
        ("one event", one_event(result)),
        ("published", published(result)),
        (
            "signing",
            format!("{:.2} % of a core, each second", result.signing_percent),
        ),
        (
            "memory",
            format!(
                "{:.0} MiB, {:.0} early",
                result.rss_mib, result.rss_early_mib
            ),
        ),
        (
            "disk",
            format!("{:.0} bytes an event", result.disk_bytes_per),
        ),
        (
            "recovery",
            format!("{:.2} s with {recovered} entries", result.recovery_s),
        ),
    ];
    let stages = result.stages.iter();
    fields.extend(stages.map(|(name, cost)| (name.as_str(), us(*cost))));
    fields
}

fn one_event(result: &AppendResult) -> String {
    let (p50, p99) = (us(result.p50_us), us(result.p99_us));
    let raw = us(result.raw_pairs_p99_us);
    format!("p50 {p50}, p99 {p99}; two raw writes and syncs p99 {raw}")
}

fn published(result: &AppendResult) -> String {
    let (p50, p99) = (us(result.published_p50_us), us(result.published_p99_us));
    format!("p50 {p50}, p99 {p99}, at 10,000 a second and 20 ms")
}

fn us(value: f64) -> String {
    format!("{value:.2} us")
}
