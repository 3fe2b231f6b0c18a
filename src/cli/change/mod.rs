//! What the verbs that change something share: what will happen is shown first, then asked, then written, and waited for.
//!
//! ```text
//!   Sight ──verb──► Plan ─► dry run at the API server ─► shown ─► asked ─► written ─► waited for
//! ```
//! What is shown and what is waited for are made from plain values ([`effects`], [`plan`]); nothing is written that the API server
//! would not take, since it is asked beforehand (`dryRun=All`), and nothing without a yes.

pub mod effects;
pub mod look;
pub mod plan;
pub mod wait;
pub mod write;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::command::Surroundings;
use super::report::text::{Colours, one_line};
use super::report::{EXIT_CLEAN, EXIT_FINDINGS};
use crate::api::duration;
use plan::Plan;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;
use wait::{Progress, Wait};

/// Flags of every verb that changes something.
#[derive(Debug, Clone, clap::Args)]
pub struct ChangeArgs {
    /// Do it without asking. Where nobody can be asked (no terminal), this or --dry-run is required.
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would happen, and whether the API server would take it.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "server", value_parser = ["server", "none"])]
    pub dry_run: Option<String>,
    /// Wait until the operator has done it, or --timeout is over.
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits (90s, 5m).
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = read_duration, requires = "wait")]
    pub timeout: Duration,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// How a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object, at the end.
    Json,
}

fn read_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

impl ChangeArgs {
    fn is_dry(&self) -> bool {
        self.dry_run.as_deref() == Some("server")
    }

    /// A connection. A change is in one namespace.
    pub async fn connect(&self) -> Result<Cluster, Failure> {
        let cluster = Cluster::connect(&self.cluster).await?;
        if cluster.all {
            return Err(Failure::Usage("a change is in one namespace: use -n NAMESPACE instead of -A".to_owned()));
        }
        Ok(cluster)
    }
}

/// Where a person is talked to.
pub struct Talk<'a> {
    /// What is asked is read here.
    pub stdin: &'a mut dyn Read,
    /// What is told.
    pub out: &'a mut dyn Write,
    /// What is asked.
    pub err: &'a mut dyn Write,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Only tried.
    DryRun,
    /// The answer was no.
    Declined,
    /// Written, and not waited for.
    Written,
    /// The operator has done it.
    Done,
    /// It went wrong, or took too long.
    Unfinished,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "DryRun",
            Self::Declined => "Declined",
            Self::Written => "Written",
            Self::Done => "Done",
            Self::Unfinished => "Unfinished",
        }
    }

    fn code(self) -> u8 {
        if matches!(self, Self::Declined | Self::Unfinished) { EXIT_FINDINGS } else { EXIT_CLEAN }
    }
}

fn names_of(objects: &[Value]) -> String {
    let named = objects.iter().filter_map(|object| object.pointer("/metadata/name").and_then(Value::as_str));
    named.collect::<Vec<_>>().join(", ")
}

/// Shows the plan, asks, writes, waits; the exit code. `look_for` says what to wait for, given what the API server answered.
pub async fn carry_out(
    asked: &ChangeArgs,
    cluster: &Cluster,
    around: &Surroundings<'_>,
    mut plan: Plan,
    look_for: impl FnOnce(&[Value]) -> Vec<Wait>,
    talk: &mut Talk<'_>,
) -> Result<u8, Failure> {
    plan.notes
        .extend(cluster.gaps().into_iter().map(|gap| format!("{} is not shown: {}", gap.subject.kind, gap.message)));
    // What would be refused is refused before anybody is asked.
    for write in &plan.writes {
        write::send(cluster, write, true).await?;
    }
    let json = asked.output == Form::Json;
    if json {
        tell(talk.err, if asked.yes || asked.is_dry() { String::new() } else { plan::text(&plan, Colours(false)) })?;
    } else {
        tell(talk.out, plan::text(&plan, around.colours))?;
    }
    let (end, said) = if asked.is_dry() {
        (End::DryRun, "nothing was changed (dry run): the API server would take it".to_owned())
    } else if !(asked.yes || ask(around, talk)?) {
        (End::Declined, "nothing was changed".to_owned())
    } else {
        let mut written = Vec::new();
        for write in &plan.writes {
            match write::send(cluster, write, false).await {
                Ok(object) => written.push(object),
                Err(failure) => {
                    if !written.is_empty() {
                        let (done, all) = (names_of(&written), plan.writes.len());
                        tell(talk.err, format!("written so far, {} of {all}: {done}\n", written.len()))?;
                    }
                    return Err(failure);
                }
            }
        }
        let told = plan.done.replace("{name}", &names_of(&written));
        if asked.wait {
            if !json {
                tell(talk.out, format!("{told}; waiting\n"))?;
            }
            match wait::until(cluster, &look_for(&written), asked.timeout).await? {
                Progress::Done(text) => (End::Done, text),
                Progress::Bad(text) | Progress::Refused(text) => (End::Unfinished, text),
                Progress::Open(text) => {
                    (End::Unfinished, format!("not done yet after {}: {text}", duration::humanize(asked.timeout)))
                }
            }
        } else {
            (End::Written, told)
        }
    };
    if json {
        let mut whole = plan::json(&plan);
        whole["end"] = json!(end.as_str());
        whole["message"] = json!(said);
        tell(talk.out, format!("{whole:#}\n"))?;
    } else {
        tell(talk.out, format!("{}\n", one_line(&said)))?;
    }
    Ok(end.code())
}

/// Asks; anything but yes is no.
fn ask(around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<bool, Failure> {
    if !around.terminal {
        let text = "nobody can be asked here (stdin is no terminal): look at --dry-run, then write --yes";
        return Err(Failure::Usage(text.to_owned()));
    }
    tell(talk.err, "Do it? [y/N] ".to_owned())?;
    let mut answer = String::new();
    let read = BufReader::new((&mut *talk.stdin).take(64)).read_line(&mut answer);
    read.map_err(|error| Failure::Usage(format!("stdin: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn tell(to: &mut dyn Write, text: String) -> Result<(), Failure> {
    let told = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    told.map_err(|error| Failure::Usage(format!("the answer could not be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn answered(terminal: bool, answer: &str) -> Result<bool, String> {
        let around = Surroundings { clock: &|| Timestamp::UNIX_EPOCH, colours: Colours(false), terminal };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut stdin = answer.as_bytes();
        let mut talk = Talk { stdin: &mut stdin, out: &mut out, err: &mut err };
        ask(&around, &mut talk).map_err(|failure| failure.to_string())
    }

    #[test]
    fn only_a_yes_is_a_yes_and_only_a_terminal_is_asked() {
        for (answer, yes) in
            [("y\n", true), ("Yes\n", true), (" YES \n", true), ("n\n", false), ("\n", false), ("", false)]
        {
            assert_eq!(answered(true, answer), Ok(yes), "{answer:?}");
        }
        assert_eq!(answered(true, &"y".repeat(1000)), Ok(false));
        assert!(answered(false, "y\n").unwrap_err().contains("--yes"));
    }
}
