//! Which rollbacks blame the version.

use super::*;

/// A lease also ends when the daemon is away, and an operator may have any reason.
#[test]
fn which_rollbacks_blame_the_version() {
    use Event as E;
    let taken = |by| E::TakenBack(by);
    for (events, blames) in [
        (vec![E::SoakBad(why())], true),
        (vec![taken(TakenBackBy::Guard)], true),
        (vec![taken(TakenBackBy::Lease)], false),
        (vec![E::SoakBad(why()), taken(TakenBackBy::Lease)], true),
        (vec![E::SoakBlind(why()), taken(TakenBackBy::Lease)], false),
        (vec![E::Abort(why()), taken(TakenBackBy::Guard)], true),
        (vec![E::Abort(why())], false),
        (vec![E::SoakInconclusive(why())], false),
        (vec![E::SoakBlind(why())], false),
    ] {
        let back = [E::SwitchedBack, E::Drained, E::Reverted, E::TornDown, E::OldGood];
        let (_, state) = walk(&plan(), with(events.clone().into_iter().chain(back)));
        let Phase::RolledBack { cause, .. } = state.phase else { panic!("{events:?}: {state:?}") };
        assert_eq!(cause.blames_version, blames, "{events:?}");
    }
}
