//! TLS, with our own authority, client certificates and an ACL user.

use trunkline_redis::Error;
use trunkline_testkit::RedisTls;

use crate::support::{cmd, heard_again, start, within_deadline};

#[tokio::test]
async fn a_user_with_a_certificate_gets_in_and_nobody_else() {
    within_deadline(async {
        let tls = RedisTls::start().await;
        tls.server().create_user("app", "s3cret", &["~*", "&*", "+@all"]).await;
        let (commands, pubsub, mut events) = start(&tls.url("app", "s3cret"));
        assert_eq!(commands.command::<String>(&cmd(&["ACL", "WHOAMI"])).await.unwrap(), "app");
        pubsub.subscribe(&["c"]).await.unwrap();
        heard_again(&commands, &mut events, "PUBLISH", "c").await;

        for url in [
            tls.url_without_certificate("app", "s3cret"),
            // The machine does not trust our authority.
            format!("rediss://127.0.0.1:{}", tls.port()),
            // No TLS where it is expected.
            format!("redis://127.0.0.1:{}", tls.port()),
        ] {
            let (stranger, _, _) = start(&url);
            let error = stranger.command::<()>(&cmd(&["PING"])).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{url}: {error:?}");
        }
        let (liar, _, _) = start(&tls.url("app", "wrong"));
        let error = liar.command::<()>(&cmd(&["PING"])).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    })
    .await;
}
