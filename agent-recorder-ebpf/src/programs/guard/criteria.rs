//! Asks the table of criteria (`agent_recorder_abi::criteria`) what an act
//! counts as, and charges the session's budgets with it.
//!
//! A criterion is a constant at each place that names it, so that only the arm of its
//! weight is compiled. Not here: what happened (`pre_op`, `post_op`, `overwrite`,
//! `unmount`, `irreversible`), and when a budget is exceeded (`budget`).

use agent_recorder_abi::criteria::{
    Criterion, DIRECTORY_REMOVED, Exceptions, FILE_REMOVED, Judged, Sights, Weight,
};
use agent_recorder_abi::policy::JUDGED_PROTECTED;
use agent_recorder_abi::state::SessionNumber;

use crate::guard::budget;
use crate::guard::verdict::Verdict;
use crate::kernel::read::hooks;

/// The criterion of a removal.
#[inline(always)]
pub(crate) fn of_removal(is_directory: bool) -> Criterion {
    if is_directory {
        DIRECTORY_REMOVED
    } else {
        FILE_REMOVED
    }
}

/// Whether an act counts on an object that was `judged` so (`JUDGED_…`). `restores` is
/// 0 for programs that cannot bring back what they take (`policy::PROGRAM_RESTORES`).
#[inline(always)]
pub(crate) fn counts(criterion: Criterion, judged: u64, restores: u32) -> bool {
    judged & criterion.exceptions.judged() == 0 && !is_restored(criterion, judged, restores)
}

/// Whether the program that acts can bring the object back.
#[inline(always)]
pub(crate) fn is_restored(criterion: Criterion, judged: u64, restores: u32) -> bool {
    let is_in_place = criterion.exceptions.has(Exceptions::GIT) && judged & JUDGED_PROTECTED == 0;
    restores != 0 && (is_in_place || criterion.exceptions.has(Exceptions::GIT_ANYWHERE))
}

/// Whether an act counts where no hook shows its object.
#[inline(always)]
pub(crate) fn counts_unseen(criterion: Criterion, restores: u32) -> bool {
    criterion.seen.has(Sights::NAME) && counts(criterion, 0, restores)
}

/// Whether an act is counted before it is done, and refused over the limit.
#[inline(always)]
pub(crate) fn refuses(criterion: Criterion) -> bool {
    matches!(criterion.judged, Judged::Before) && hooks().refuse != 0
}

/// Counts an act before it is done.
#[inline(always)]
pub(crate) fn admit(
    criterion: Criterion,
    session: SessionNumber,
    judged: u64,
    bytes: u64,
) -> Verdict {
    match criterion.weight {
        Weight::File => budget::admit(session, judged, bytes),
        Weight::Place => budget::admit(session, judged | JUDGED_PROTECTED, 0),
        Weight::Whole => budget::admit_whole(session),
        // The table asserts that every criterion of these weights is judged after the act.
        Weight::Files(_) | Weight::Part => Verdict::Admitted,
    }
}

/// Takes back an act that was counted before it failed.
#[inline(always)]
pub(crate) fn take_back(criterion: Criterion, session: SessionNumber, judged: u64, bytes: u64) {
    if matches!(criterion.weight, Weight::File) {
        budget::failed(session, judged, bytes);
    }
}

/// Counts an act that was done.
#[inline(always)]
pub(crate) fn count(criterion: Criterion, session: SessionNumber, judged: u64, bytes: u64) {
    match criterion.weight {
        Weight::File => {
            budget::count_destroyed(session, judged, bytes);
        }
        Weight::Files(files) => {
            let mut counted = 0;
            while counted < files {
                // The limit is met: further files would change nothing.
                if budget::count_destroyed(session, 0, 0) {
                    return;
                }
                counted += 1;
            }
        }
        Weight::Part => budget::part(session),
        Weight::Whole => {
            budget::whole(session);
        }
        Weight::Place => {
            budget::count_destroyed(session, judged | JUDGED_PROTECTED, 0);
        }
    }
}
