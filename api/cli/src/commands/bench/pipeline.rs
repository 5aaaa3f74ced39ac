//! `custody bench pipeline`: events in Kafka, read, checked, masked, appended, durable and signed,
//! beside the bare consumer that reads the same records in the same run.
//!
//! Without `--brokers` it starts the broker that `make servers` installed, so it is run from the
//! folder of the repository then. Not here: the measuring (collectors/bus).

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use collectors_bus::kafka::bench::{PipelinePlan, PipelineResult, pipeline};

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::count;

/// How much, and where.
#[derive(Args, Debug)]
pub struct PipelineArgs {
    /// Events that are in the topic before the ledger begins
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    entries: u64,
    /// Events that an agent sends while the ledger reads
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    together: u64,
    /// Brokers without a password, in place of one that is started
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
}

/// What starts a broker, from the folder of the repository.
const SCRIPT: &str = "scripts/servers.sh";

/// Runs it.
///
/// # Errors
/// No broker, a folder that cannot be written, a log that stopped.
pub(super) fn run(args: &PipelineArgs, context: &Context) -> Result<Exit, CommandError> {
    let result = super::in_a_folder(|folder| {
        let own = folder.join("kafka");
        let brokers = match &args.brokers {
            Some(brokers) => brokers.clone(),
            None => {
                context.output.say("starting a broker");
                start(&own)?
            }
        };
        let plan = PipelinePlan {
            brokers,
            entries: args.entries,
            together: args.together,
            singles: 100,
            program: std::env::current_exe()
                .map_err(CommandError::file("finding", Path::new("this program")))?,
        };
        let measured = pipeline(folder, &plan, &|step| context.output.say(step));
        if args.brokers.is_none() {
            script("stop", &own)?;
        }
        Ok(measured?)
    })?;
    let printed = if context.output.is_json() {
        context.output.json(&result)
    } else {
        context.output.fields(&fields(&result))
    };
    printed.map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

/// A broker of our own; gives its address.
fn start(folder: &Path) -> Result<String, CommandError> {
    let said = script("start kafka", folder)?;
    let port = said
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix("port="));
    let port = port.ok_or_else(|| CommandError::Usage(format!("{SCRIPT} names no port")))?;
    Ok(format!("127.0.0.1:{port}"))
}

fn script(act: &str, folder: &Path) -> Result<String, CommandError> {
    if !Path::new(SCRIPT).is_file() {
        return Err(CommandError::Usage(
            "give --brokers HOST:PORT, or run it in the repository after `make servers`".to_owned(),
        ));
    }
    let output = Command::new("bash")
        .arg(SCRIPT)
        .args(act.split(' '))
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(CommandError::file("running", Path::new(SCRIPT)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        return Err(CommandError::Usage(format!("{act}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn fields(result: &PipelineResult) -> Vec<(&str, String)> {
    let entries = count(result.entries);
    let bytes = result.event_bytes;
    let mut fields = vec![
        ("entries", format!("{entries} of {bytes:.0} bytes")),
        (
            "signed",
            format!("{:.0} a second, in {:.2} s", result.per_s, result.seconds),
        ),
        (
            "bare consumer",
            format!(
                "{:.0} a second, ratio {:.2}",
                result.raw_per_s, result.ratio
            ),
        ),
        (
            "all at once",
            format!(
                "{:.0} a second with agent and broker",
                result.together_per_s
            ),
        ),
        ("CPU", format!("{:.2} us an event", result.cpu_us_per)),
        (
            "one event",
            format!("p50 {:.0} us, p99 {:.0} us", result.p50_us, result.p99_us),
        ),
        (
            "memory",
            format!(
                "{:.0} MiB of the server alone, {:.0} of this process",
                result.rss_mib, result.rig_rss_mib
            ),
        ),
        (
            "disk",
            format!("{:.0} bytes an event", result.disk_bytes_per),
        ),
        ("resume", format!("{:.2} s", result.resume_s)),
        ("stop", format!("{:.2} s", result.stop_s)),
    ];
    let stages = result.stages.iter();
    fields.extend(stages.map(|(name, cost)| (name.as_str(), format!("{cost:.2} us"))));
    fields
}
