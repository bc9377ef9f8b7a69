//! What happens to the daemon that leads, or to members of etcd.

use std::time::Duration;

use anyhow::{Context, Result};
use cutover_tests::admin_proxy::AdminProxy;
use cutover_tests::{DaemonHosts, wait};

/// How long etcd has no majority: longer than the leader's lease.
const OUTAGE: Duration = Duration::from_secs(4);
/// The group whose changes are late, of two.
const GROUP: &str = "shop";

/// How long a change that may be held back is waited for.
const SENT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing happens.
    Nothing,
    /// The daemon that leads.
    Leader(LeaderFault),
    /// One member of etcd: the one that leads the others, or another one.
    Member(MemberFault, Member),
    /// Two of three members are cut off for a while.
    NoMajority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderFault {
    /// SIGKILL.
    Dies,
    /// SIGSTOP, and SIGCONT as soon as another daemon drives the deployment.
    Sleeps,
    /// It reaches nothing over the network, until another daemon drives the deployment.
    IsCutOff,
    /// It does not reach etcd, but it does reach nginx and the slots.
    LosesStore,
    /// SIGKILL after it has sent a change, which arrives after the fence of the next leader.
    ChangesAreLate,
    /// The same, but only the change on one of three edges is late, or that of one of two groups. The others have arrived.
    SomeAreLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberFault {
    Dies,
    Sleeps,
    IsCutOff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Leading,
    Following,
}

impl LeaderFault {
    /// Those that differ from each other with one edge and one group.
    pub(crate) const ALL: [Self; 5] =
        [Self::Dies, Self::Sleeps, Self::IsCutOff, Self::LosesStore, Self::ChangesAreLate];

    /// Whether changes of it are held back.
    pub(crate) fn is_late(self) -> bool {
        matches!(self, Self::ChangesAreLate | Self::SomeAreLate)
    }

    /// Lets it happen to a daemon.
    pub(crate) async fn begins(self, pair: &mut DaemonHosts, daemon: usize) -> Result<()> {
        match self {
            Self::Dies => pair.daemon_mut(daemon)?.daemon.kill(),
            Self::Sleeps => pair.daemon(daemon)?.pause(true),
            Self::IsCutOff => pair.daemon(daemon)?.host.cut_off(),
            Self::LosesStore => pair.lose_store(daemon, true),
            Self::ChangesAreLate | Self::SomeAreLate => {
                let host = pair.daemon_mut(daemon)?;
                let are_held: Box<dyn Fn() -> bool> = if self == Self::ChangesAreLate {
                    host.hold();
                    Box::new(|| host.proxies.iter().all(AdminProxy::has_late))
                } else {
                    host.hold_some(GROUP);
                    let proxies = &host.proxies;
                    let before = answered(proxies);
                    Box::new(move || proxies.iter().any(AdminProxy::has_late) && answered(proxies) > before)
                };
                // In many phases there is no change to hold back.
                let _ = wait::until_within(SENT, "a change", are_held).await;
                host.daemon.kill()
            }
        }
    }

    /// Ends it. Late changes arrive.
    pub(crate) async fn ends(self, pair: &mut DaemonHosts, daemon: usize) -> Result<()> {
        match self {
            Self::Dies => pair.daemon_mut(daemon)?.daemon.resume().await,
            Self::Sleeps => pair.daemon(daemon)?.pause(false),
            Self::IsCutOff => pair.daemon(daemon)?.host.reconnect(),
            Self::LosesStore => pair.lose_store(daemon, false),
            Self::ChangesAreLate | Self::SomeAreLate => {
                let host = pair.daemon_mut(daemon)?;
                host.deliver();
                let is_answered = || !host.proxies.iter().any(AdminProxy::has_late);
                wait::until("answers to the late changes", is_answered).await?;
                host.daemon.resume().await
            }
        }
    }
}

impl Member {
    /// Its number.
    pub(crate) fn number(self, leading: usize) -> usize {
        match self {
            Self::Leading => leading,
            Self::Following => (leading + 1) % 3,
        }
    }
}

impl MemberFault {
    pub(crate) const ALL: [Self; 3] = [Self::Dies, Self::Sleeps, Self::IsCutOff];

    pub(crate) fn begins(self, pair: &mut DaemonHosts, member: usize) -> Result<()> {
        match self {
            Self::Dies => pair.cluster.kill(member),
            Self::Sleeps => pair.cluster.pause(member, true),
            Self::IsCutOff => pair.cluster.cut_off(member, true),
        }
    }

    pub(crate) async fn ends(self, pair: &mut DaemonHosts, member: usize) -> Result<()> {
        match self {
            Self::Dies => pair.cluster.restart(member).await,
            Self::Sleeps => pair.cluster.pause(member, false),
            Self::IsCutOff => pair.cluster.cut_off(member, false),
        }
    }
}

/// The number of changes that have an answer.
fn answered(proxies: &[AdminProxy]) -> usize {
    let of = |proxy: &AdminProxy| proxy.asked().iter().filter(|asked| asked.answered.is_some()).count();
    proxies.iter().map(of).sum()
}

/// Takes the majority away for a while.
pub(crate) async fn no_majority(pair: &DaemonHosts, leading: usize) -> Result<()> {
    let away = [leading, (leading + 1) % 3];
    for member in away {
        pair.cluster.cut_off(member, true)?;
    }
    tokio::time::sleep(OUTAGE).await;
    for member in away {
        pair.cluster.cut_off(member, false).context("failed to connect a member again")?;
    }
    Ok(())
}
