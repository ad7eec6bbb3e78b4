//! Documents.

use crate::bench::Bench;
use bytes::Bytes;
use futures_util::future::join_all;
use trunkline_store::{Document, Fill, MAX_DOCUMENT_BYTES, Part, Publication, StoreError, Written};

fn document(content: &str, version: u64) -> Document {
    Document { content: content.into(), version }
}

pub(crate) async fn the_last_writer_wins_unless_it_names_what_it_replaces(mut bench: Bench) {
    let documents = &bench.store.documents;
    assert_eq!(documents.get("plan").await.unwrap(), Document::default());
    let parts = vec![Part::Literal(Bytes::from_static(b"v")), Part::Fill(Fill::Seq), Part::Fill(Fill::Epoch)];
    let publications = [Publication { channel: b"doc".to_vec(), parts }];
    let write = async |content, base| documents.write("plan", content, base, &publications).await.unwrap();
    assert_eq!(write("a", None).await, Written::Stored { version: 1 });
    assert_eq!(write("b", None).await, Written::Stored { version: 2 });
    assert_eq!(write("c", Some(1)).await, Written::Conflict(document("b", 2)));
    assert_eq!(write("c", Some(3)).await, Written::Conflict(document("b", 2)));
    assert_eq!(write("c", Some(2)).await, Written::Stored { version: 3 });
    assert_eq!(documents.get("plan").await.unwrap(), document("c", 3));
    let expected = [1, 2, 3].map(|version| (b"doc".to_vec(), vec![b'v', version, 0xa0]));
    assert_eq!(bench.published(3).await, expected, "a conflict publishes nothing");
}

pub(crate) async fn of_racing_writers_with_one_base_one_wins(bench: Bench) {
    let documents = &bench.store.documents;
    let racing = join_all((0..20).map(|_| documents.write("plan", "x", Some(0), &[]))).await;
    let won = racing.iter().filter(|written| matches!(written, Ok(Written::Stored { version: 1 }))).count();
    assert_eq!((won, racing.len()), (1, 20));
}

pub(crate) async fn an_empty_document_is_not_a_missing_one(bench: Bench) {
    let documents = &bench.store.documents;
    assert_eq!(documents.write("plan", "", Some(0), &[]).await.unwrap(), Written::Stored { version: 1 });
    assert_eq!(documents.get("plan").await.unwrap(), document("", 1));
    assert_eq!(documents.write("plan", "x", Some(0), &[]).await.unwrap(), Written::Conflict(document("", 1)));
    assert_eq!(documents.get("other").await.unwrap(), Document::default());
}

pub(crate) async fn a_document_that_is_too_large_is_refused(bench: Bench) {
    let documents = &bench.store.documents;
    let refused = documents.write("plan", &"x".repeat(MAX_DOCUMENT_BYTES + 1), None, &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused:?}");
    let fits = "x".repeat(MAX_DOCUMENT_BYTES);
    assert_eq!(documents.write("plan", &fits, None, &[]).await.unwrap(), Written::Stored { version: 1 });
    assert_eq!(documents.get("plan").await.unwrap(), document(&fits, 1));
}
