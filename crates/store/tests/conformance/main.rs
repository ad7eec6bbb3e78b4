//! What both implementations promise: every test runs against the store in memory, and against one in a real Redis of
//! every kind.

mod bench;
mod changes;
mod documents;
mod inbox;
mod lists;
mod log;
mod memos;
mod model;
mod nodes;
mod presence;
mod realms;
mod receipts;
mod sessions;
mod topologies;

use bench::{Bench, within_deadline};

macro_rules! conformance {
    ($($module:ident: $($name:ident),+;)+) => {
        mod in_memory {
            $($(#[tokio::test]
            async fn $name() {
                crate::within_deadline(async { crate::$module::$name(crate::Bench::memory()).await }).await
            })+)+
        }
        mod in_redis {
            $($(#[tokio::test]
            async fn $name() {
                crate::within_deadline(async { crate::$module::$name(crate::Bench::redis().await).await }).await
            })+)+
        }
        /// All promises, one after the other, in the Redis at `url`, which `empty` empties.
        async fn everything_at(url: &str, empty: impl AsyncFn()) {
            $($(
                println!("{}", stringify!($name));
                empty().await;
                within_deadline(async { $module::$name(Bench::at(url).await).await }).await;
            )+)+
        }
    };
}

conformance! {
    memos:
        a_memo_is_claimed_once_until_it_ends;
    nodes:
        a_node_is_alive_from_its_first_heartbeat_until_it_leaves,
        nodes_that_start_agree_on_one_secret_and_keep_those_in_use;
    presence:
        only_the_first_socket_of_a_user_comes_online,
        only_the_last_socket_of_a_user_goes_offline,
        reporting_a_socket_again_changes_nothing,
        racing_sockets_of_one_user_come_and_go_once,
        presence_answers_in_the_order_of_the_question,
        pages_show_each_user_once,
        a_foreign_cursor_is_refused,
        a_room_has_whoever_joined_and_did_not_leave,
        ids_of_any_text_are_kept_apart,
        a_sweep_among_the_living_finds_nobody,
        nobody_joins_what_is_called_like_another_socket,
        pages_of_a_room_show_each_user_once_with_all_sockets,
        a_room_with_more_sockets_than_a_page_is_read_whole,
        huge_ids_are_ids;
    log:
        numbers_start_at_one_and_have_no_gaps,
        parallel_appends_are_published_in_the_order_of_their_numbers,
        a_repeated_client_message_id_answers_the_first_result_and_publishes_nothing,
        client_message_ids_of_two_senders_do_not_meet,
        publications_are_filled_with_msgpack,
        entries_come_back_as_they_were_written,
        a_page_says_whether_anything_is_missing,
        a_log_keeps_its_newest_entries,
        a_log_drops_entries_that_are_too_old,
        a_conversation_nobody_wrote_to_is_empty_and_complete,
        a_cursor_beyond_the_end_is_not_complete,
        the_ends_of_many_logs_are_read_at_once,
        stamps_put_all_logs_into_the_order_in_which_they_were_published;
    changes:
        an_edit_is_an_entry_and_the_message_is_read_as_edited,
        a_deleted_message_is_not_given_out_nor_what_it_said_before,
        only_the_sender_changes_a_message,
        what_is_no_message_of_this_log_is_not_changed,
        a_change_that_is_sent_again_is_recognised,
        standings_go_with_their_entries;
    receipts:
        receipts_only_grow,
        receipts_end_where_the_log_ends,
        an_entry_tells_who_received_and_read_it,
        what_a_user_writes_moves_their_own_receipts_only;
    lists:
        a_list_has_the_last_message_and_what_is_unread,
        who_joins_has_read_what_was_before,
        changes_of_messages_are_not_unread_messages,
        pages_of_a_list_show_each_conversation_once,
        all_names_in_a_list_are_read_at_once,
        a_list_is_bounded;
    inbox:
        items_wait_in_order_until_they_are_acknowledged,
        an_item_that_comes_again_changes_nothing,
        what_can_be_sent_to_a_socket_is_kept_only_if_asked,
        a_full_inbox_drops_the_oldest_and_says_so,
        an_item_that_is_too_large_is_refused,
        an_entry_waits_for_whoever_is_offline_and_once;
    documents:
        the_last_writer_wins_unless_it_names_what_it_replaces,
        of_racing_writers_with_one_base_one_wins,
        an_empty_document_is_not_a_missing_one,
        a_document_that_is_too_large_is_refused;
    sessions:
        a_session_is_taken_once_with_the_rooms_it_was_in,
        a_session_whose_connection_is_lost_can_be_taken_within_the_window,
        a_session_that_ended_cannot_be_taken,
        a_session_in_too_many_rooms_is_not_recovered,
        session_ids_do_not_repeat;
    realms:
        nothing_of_one_realm_is_seen_in_another,
        the_nameless_realm_is_the_common_one;
}
