//! The texts of a panic: bounded, and described for people.

use super::policy::{MAX_DETAIL, MAX_PANIC};
use bulkhead_proto::wire::{crash::Panic, text::cut};

/// Describes a panic. If the text exceeds [`MAX_DETAIL`], the message is cut, not the location.
pub(in crate::core) fn describe_panic(panic: &Panic) -> String {
    let panic = cut_panic(panic, MAX_PANIC);
    let suffix = format!(" at {}, thread {}", panic.location, panic.thread);
    let quoted = format!("{:?}", panic.message);
    if quoted.len() + suffix.len() <= MAX_DETAIL {
        return quoted + &suffix;
    }
    let room = MAX_DETAIL.saturating_sub(suffix.len() + "…\"".len());
    let mut shown = "\"".to_owned();
    for character in panic.message.chars() {
        let escaped = format!("{:?}", character.encode_utf8(&mut [0; 4]));
        // Without the quotes that `{:?}` adds.
        let escaped = &escaped[1..escaped.len() - 1];
        if shown.len() + escaped.len() > room {
            break;
        }
        shown.push_str(escaped);
    }
    shown + "…\"" + &suffix
}

/// Bounds the texts of a panic: `max` bytes for the message, and for the others these fractions of it.
pub(in crate::core) fn cut_panic(panic: &Panic, max: usize) -> Panic {
    Panic {
        message: cut(&panic.message, max).to_owned(),
        location: cut(&panic.location, max / 4).to_owned(),
        thread: cut(&panic.thread, max / 16).to_owned(),
    }
}
