//! Who leads: the daemon that created the leader's key, for as long as the lease of that key lives.
//!
//! A daemon never deletes the key. A lease that runs out does it, so whoever leads next knows that the one before has stopped by
//! its own clock.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use serde::{Deserialize, Serialize};

use super::term::now_ms;
use super::{EtcdError, EtcdJournal, Term, value};
use crate::metrics;

/// Most time between two looks at the leader's key.
const MOST_PAUSE: Duration = Duration::from_millis(500);

/// A daemon, as the leader's key names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Random, and another one for each process.
    pub daemon: String,
    /// The name of its host.
    pub host: String,
    /// Its control socket.
    pub socket: String,
}

/// The daemon that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leads {
    /// The daemon.
    pub who: Identity,
    /// Its epoch.
    pub epoch: i64,
}

impl EtcdJournal {
    /// Waits until this daemon leads. Its writes are possible from then on.
    pub async fn campaign(&self) -> Term {
        let mut was_away = false;
        loop {
            match self.try_to_lead().await {
                Ok(Some(term)) => {
                    *self.shared.current.lock() = Some(term.clone());
                    return term;
                }
                Ok(None) => was_away = false,
                Err(error) => {
                    metrics::store_failed();
                    if !std::mem::replace(&mut was_away, true) {
                        tracing::error!(%error, "the store is away; nothing is deployed until it answers");
                    }
                }
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Renews the lease of a term until the term is over.
    pub async fn keep(&self, term: &Term) {
        let renewing = async {
            let mut is_failing = false;
            loop {
                let sent = now_ms();
                match self.shared.members.renew(term.lease()).await {
                    Ok(true) => {
                        term.renewed(sent);
                        is_failing = false;
                        tokio::time::sleep(self.shared.ttl / 3).await;
                    }
                    Ok(false) => {
                        term.end();
                        return;
                    }
                    Err(error) => {
                        metrics::store_failed();
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(%error, "failed to renew the lease of the leader; trying again");
                        }
                        tokio::time::sleep(self.pause()).await;
                    }
                }
            }
        };
        tokio::select! {
            () = renewing => {}
            () = term.over() => {}
        }
    }

    /// Ends the term of this daemon, so nothing is written any more.
    pub fn end_term(&self) {
        if let Some(term) = self.shared.current.lock().take() {
            term.end();
        }
        metrics::store_lost();
    }

    /// The daemon that led when this one looked last, and whether that is this daemon.
    pub fn leads(&self) -> Option<Leads> {
        self.shared.leads.borrow().clone()
    }

    /// This daemon.
    pub fn me(&self) -> &Identity {
        &self.shared.me
    }

    fn pause(&self) -> Duration {
        (self.shared.ttl / 10).min(MOST_PAUSE)
    }

    async fn try_to_lead(&self) -> Result<Option<Term>, EtcdError> {
        let members = &self.shared.members;
        if let Some(found) = self.look().await? {
            return self.again(&found).await;
        }
        let sent = now_ms();
        let lease = members.grant(self.shared.ttl).await?;
        let leader = self.shared.keys.leader();
        let put = PutOptions::new().with_lease(lease);
        let txn = Txn::new()
            .when(vec![Compare::create_revision(leader.as_str(), CompareOp::Equal, 0)])
            .and_then(vec![TxnOp::put(leader, value::write(&self.shared.me), Some(put))]);
        let made = members.txn(txn).await?;
        if !made.succeeded() {
            return Ok(None);
        }
        let epoch = made.header().map_or(0, |header| header.revision());
        self.saw(Leads { who: self.shared.me.clone(), epoch });
        Ok(Some(Term::new(epoch, lease, self.shared.ttl, sent)))
    }

    /// The term goes on if the key is of this process: it has created it without knowing, or could not renew its lease for long.
    /// Nobody else has led in between.
    async fn again(&self, found: &KeyValue) -> Result<Option<Term>, EtcdError> {
        let Ok(who) = value::read::<Identity>(found.value()) else { return Ok(None) };
        if who != self.shared.me {
            return Ok(None);
        }
        let sent = now_ms();
        let lives = self.shared.members.renew(found.lease()).await?;
        let term = Term::new(found.create_revision(), found.lease(), self.shared.ttl, sent);
        Ok(Some(term).filter(|_| lives))
    }

    /// Reads who leads, and whether there are new records.
    async fn look(&self) -> Result<Option<KeyValue>, EtcdError> {
        let keys = &self.shared.keys;
        let txn = Txn::new().and_then(vec![TxnOp::get(keys.leader(), None), TxnOp::get(keys.last(), None)]);
        let read = self.shared.members.txn(txn).await?;
        let found = |at: usize| match read.op_responses().get(at) {
            Some(TxnOpResponse::Get(got)) => got.kvs().first().cloned(),
            _ => None,
        };
        if let Some(last) = found(1) {
            let revision = last.mod_revision();
            self.shared.last.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        }
        let leader = found(0);
        match leader.as_ref().map(|found| (value::read::<Identity>(found.value()), found.create_revision())) {
            Some((Ok(who), epoch)) => self.saw(Leads { who, epoch }),
            _ => drop(self.shared.leads.send_replace(None)),
        }
        Ok(leader)
    }

    fn saw(&self, leads: Leads) {
        metrics::store_leads(leads.who == self.shared.me, leads.epoch);
        let epoch = leads.epoch;
        let before = self.shared.leads.send_replace(Some(leads.clone()));
        if before.is_none_or(|before| before.epoch != epoch) {
            tracing::info!(daemon = leads.who.daemon, host = leads.who.host, epoch, "this daemon leads");
        }
    }
}
