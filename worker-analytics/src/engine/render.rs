//! Renders what readers see. A series that cannot be rendered is committed all the same: its state is right, and only readers
//! must know.

use crate::Analysis;
use bulkhead_proto::{
    wire::{series::write_render_failure, text::cut},
    worker::panic_hook,
};

/// The most bytes of a wrong result that an error shows.
const MAX_SHOWN: usize = 40;

/// Renders a series into a buffer: a JSON object, or why there is none. Returns whether it failed. `failed_before`: whether the
/// commit before failed, too; then the failure is not logged again.
pub(super) fn render<A: Analysis>(
    analysis: &A,
    series: &str,
    state: &A::State,
    failed_before: bool,
    into: &mut Vec<u8>,
) -> bool {
    into.clear();
    let rendered = panic_hook::catch(|| serde_json::to_writer(&mut *into, &analysis.render(series, state)));
    let reason = match rendered {
        Ok(Ok(())) if into.first() == Some(&b'{') => return false,
        Ok(Ok(())) => format!("render must give a JSON object; it gave {}", begin_of(into)),
        Ok(Err(error)) => format!("the rendered value is not JSON: {error}"),
        Err(panic) => format!("render panicked: {panic}"),
    };
    write_render_failure(&reason, into);
    if !failed_before {
        tracing::error!(
            event_name = "render_failed",
            series,
            "render_failed: series {series:?}: {reason}; reading it is answered with 500"
        );
    }
    true
}

/// The begin of a wrong result, for an error.
pub(crate) fn begin_of(rendered: &[u8]) -> String {
    cut(&String::from_utf8_lossy(rendered), MAX_SHOWN).to_owned()
}
