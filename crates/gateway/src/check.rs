//! `trunkline check`: what would be in the way of a node with this configuration?

use trunkline_adapter::Mode;
use trunkline_redis::{Finding, Needs, Verdict};

use crate::config::Config;

/// Looks at what the configuration names, a line each. Nothing is changed, and nothing is listened on.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![finding(Verdict::Good, "the configuration can be used")];
    match &config.redis {
        None => {
            let text = "no Redis is configured: a node runs by itself and keeps everything in memory";
            findings.push(finding(Verdict::Doubtful, text));
        }
        Some(topology) => {
            let needs = Needs {
                sharded: matches!(config.adapter, Mode::Sharded(_)),
                key_prefix: "trunkline:",
                channel_prefix: &config.channel_prefix,
            };
            findings.extend(trunkline_redis::check(topology, needs).await);
        }
    }
    findings
}

fn finding(verdict: Verdict, text: &str) -> Finding {
    Finding { verdict, text: text.to_owned() }
}
