//! `trunkline check` says what would be in the way.

use std::{collections::BTreeMap, time::Duration};

use trunkline_gateway::{check::check, config::Config};
use trunkline_redis::{Finding, Verdict};
use trunkline_testkit::RedisServer;

async fn findings(flags: &[(&str, &str)]) -> Vec<Finding> {
    let mut flags: BTreeMap<String, String> = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    flags.insert("auth".to_owned(), "insecure-query".to_owned());
    let config = Config::load(&flags, &|_| None).expect("the flags are valid");
    let checked = tokio::time::timeout(Duration::from_secs(30), check(&config)).await;
    checked.expect("a check takes some seconds at most")
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().expect("something was looked at")
}

#[tokio::test]
async fn a_user_with_the_documented_rules_may_do_all_that_is_needed() {
    let server = RedisServer::start_with_aof().await;
    let rules = ["resetchannels", "&chat*", "~trunkline:*", "+@all", "-@admin", "-@dangerous", "+info", "+role"];
    server.create_user("app", "pw", &rules).await;
    let url = format!("redis://app:pw@127.0.0.1:{}", server.port());
    for adapter in ["classic", "sharded"] {
        let findings = findings(&[("redis-url", &url), ("channel-prefix", "chat"), ("adapter", adapter)]).await;
        assert_eq!(worst(&findings), Verdict::Good, "{findings:?}");
    }
    let other_prefix = findings(&[("redis-url", &url), ("channel-prefix", "talk")]).await;
    assert_eq!(worst(&other_prefix), Verdict::Bad);
    assert!(other_prefix.iter().any(|finding| finding.text.contains("may not publish")), "{other_prefix:?}");
}

#[tokio::test]
async fn a_node_by_itself_needs_nothing_and_is_told_what_that_means() {
    let findings = findings(&[]).await;
    assert_eq!(worst(&findings), Verdict::Doubtful);
    assert!(findings.iter().any(|finding| finding.text.contains("in memory")), "{findings:?}");
}
