//! The layers, and what is a mistake.

use super::*;

fn load(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let environment: BTreeMap<_, _> = environment.iter().copied().collect();
    Config::load(&flags, &|name| environment.get(name).map(|&value| value.to_owned()))
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nping_interval = 1\nping_timeout = 1\n").unwrap();
    let file = file.to_str().unwrap();
    let config = load(
        &[("listen", "127.0.0.1:3"), ("config", file), ("auth", "insecure-query")],
        &[("TRUNKLINE_LISTEN", "127.0.0.1:2"), ("TRUNKLINE_PING_INTERVAL", "2")],
    )
    .unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.ping_interval, Duration::from_millis(2));
    assert_eq!(config.ping_timeout, Duration::from_millis(1));
    assert_eq!(config.max_payload, 1_000_000);
}

#[test]
fn our_variable_wins_over_its_aliases() {
    let config = load(&[("auth", "insecure-query")], &[("PORT", "1"), ("TRUNKLINE_LISTEN", "2")]).unwrap();
    assert_eq!(config.listen.port(), 2);
    let config = load(&[("auth", "insecure-query")], &[("SOCKET_PORT", "1")]).unwrap();
    assert_eq!(config.listen.port(), 1);
}

#[test]
fn all_mistakes_are_reported_at_once_by_name() {
    let mistakes = load(
        &[("listen", "nowhere"), ("auth", "magic"), ("transports", "carrier-pigeon")],
        &[("TRUNKLINE_PING_TIMEOUT", "soon"), ("REDIS_URL", "http://x")],
    )
    .unwrap_err();
    let origins: Vec<_> = mistakes.iter().map(|mistake| mistake.origin.as_str()).collect();
    for origin in ["--listen", "--auth", "--transports", "TRUNKLINE_PING_TIMEOUT", "REDIS_URL"] {
        assert!(origins.contains(&origin), "{origin} missing in {mistakes:?}");
    }
}

#[test]
fn jwt_without_a_key_does_not_start() {
    let mistakes = load(&[], &[]).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].problem.contains("--jwt-secret"), "{}", mistakes[0]);
    assert!(load(&[], &[("JWT_SECRET", "s")]).is_ok());
}

#[test]
fn unknown_keys_in_the_file_are_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, "listne = 1\n").unwrap();
    let mistakes = load(&[("config", file.to_str().unwrap()), ("auth", "insecure-query")], &[]).unwrap_err();
    assert!(mistakes[0].origin.starts_with("listne in "), "{}", mistakes[0]);
}

#[test]
fn secrets_are_not_shown() {
    let config = load(&[("jwt-secret", "hunter2")], &[("REDIS_URL", "redis://:hunter2@127.0.0.1:1")]).unwrap();
    assert!(!format!("{:?}", config.auth).contains("hunter2"));
    let mistakes = load(&[("redis-url", "redis://:hunter2@[::")], &[]).unwrap_err();
    assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hunter2")));
}

#[test]
fn connection_state_recovery_needs_one_redis_and_the_websocket_lane() {
    let with = |more: &[(&str, &str)]| {
        let flags = [&[("auth", "insecure-query"), ("connection-state-recovery", "on")], more].concat();
        load(&flags, &[]).map(|config| (config.connection_state_recovery, config.recovery_window))
    };
    assert_eq!(with(&[("recovery-window", "1m")]), Ok((true, Duration::from_secs(60))));
    assert!(with(&[("redis-url", "redis+sentinel://127.0.0.1:1/m")]).is_ok());
    for wrong in [("recovery-window", "long"), ("redis-url", "redis://a:1,redis://b:1"), ("websocket-lane", "off")] {
        let mistakes = with(&[wrong]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
}

#[test]
fn every_default_is_valid() {
    assert!(load(&[("auth", "insecure-query")], &[]).is_ok());
}
