//! Reads of the journal. They need no leader.

use cutover_core::deployment::Time;
use cutover_engine::journal::Deployment;
use cutover_engine::policy::Policy;
use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse};

use super::value::{self, Head, Recorded, Requested, Summary};
use super::{EtcdJournal, MOST_OPERATIONS};
use crate::journal::{Entry, JournalError, Record};

/// Most values in one answer: 4 MiB are the most that the client takes.
const PAGE: i64 = 50;
/// Reads for one entry, see [`EtcdJournal::raw_entries`].
const READS_OF_ENTRY: usize = 3;
/// Most entries in one answer.
const MOST_ENTRIES: usize = 10;

/// A deployment that is not parsed yet.
pub(super) struct Raw {
    pub(super) id: String,
    order: i64,
    requested: Vec<u8>,
    head: Vec<u8>,
    last: Option<Vec<u8>>,
    summary: Result<Summary, String>,
}

impl EtcdJournal {
    /// Open deployments, except those that cannot be read, see [`EtcdJournal::close_unreadable`].
    pub async fn open_deployments(&self) -> Result<Vec<Entry>, JournalError> {
        Ok(readable(self.open_raw().await?))
    }

    pub(super) async fn open_raw(&self) -> Result<Vec<Raw>, JournalError> {
        let open = self.all(&self.shared.keys.all_open(), GetOptions::new()).await?;
        let ids = open.iter().map(|open| String::from_utf8_lossy(open.value()).into_owned()).collect();
        let mut raw = self.raw_entries(ids).await?;
        raw.sort_by_key(|raw| raw.order);
        Ok(raw)
    }

    /// A deployment by its id.
    pub async fn entry(&self, id: &str) -> Result<Option<Entry>, JournalError> {
        self.raw_entries(vec![id.to_owned()]).await?.pop().map(Raw::parse).transpose()
    }

    /// Readable deployments of one group or of all, the newest first.
    pub async fn history(&self, group: Option<&str>, limit: u32) -> Result<Vec<Entry>, JournalError> {
        let keys = &self.shared.keys;
        let folder = group.map_or_else(|| keys.deployments(), |group| keys.group(group));
        let newest = GetOptions::new()
            .with_prefix()
            .with_keys_only()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(i64::from(limit));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let found = self.shared.members.get(&folder, newest).await?;
        let name = |found: &KeyValue| {
            let key = String::from_utf8_lossy(found.key()).into_owned();
            keys.name_in(&folder, &key).to_owned()
        };
        Ok(readable(self.raw_entries(found.kvs().iter().map(name).collect()).await?))
    }

    /// The records of a deployment after the sequence number `after`.
    pub async fn records(&self, id: &str, after: i64) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        let mut after = after;
        loop {
            let page = GetOptions::new()
                .with_prefix()
                .with_min_create_revision(after.saturating_add(1))
                .with_sort(SortTarget::Create, SortOrder::Ascend)
                .with_limit(PAGE);
            let found = self.shared.members.get(&self.shared.keys.records(id), page).await?;
            for found in found.kvs() {
                let record: Recorded = value::read(found.value()).map_err(|why| unreadable(id, why))?;
                after = found.create_revision();
                let Recorded { at, phase, message, outcome, glance, tries } = record;
                records.push(Record { seq: after, at, phase, message, outcome, glance, tries });
            }
            if !found.more() {
                return Ok(records);
            }
        }
    }

    /// The version in a slot, as far as the journal knows: the last one that was started there and has not been rolled back or
    /// stopped.
    pub async fn version_in(&self, group: &str, slot: &str) -> Result<Option<String>, JournalError> {
        let all = self.summaries(group).await?;
        let started = all.iter().rposition(|(_, summary)| summary.to == slot && summary.started);
        let Some((at, (_, last))) = started.and_then(|at| Some((at, all.get(at)?))) else { return Ok(None) };
        use cutover_core::deployment::Outcome::{Failed, RolledBack};
        let was_taken_back = matches!(last.outcome, Some(Failed | RolledBack));
        let stops = |later: &Summary| later.from == slot && later.closed && later.stopped;
        let is_gone = was_taken_back || all.iter().skip(at + 1).any(|(_, later)| stops(later));
        Ok((!is_gone).then(|| last.version.clone()))
    }

    /// The deployments of a group, the oldest first.
    pub(super) async fn summaries(&self, group: &str) -> Result<Vec<(String, Summary)>, JournalError> {
        let folder = self.shared.keys.group(group);
        let mut found = self.all(&folder, GetOptions::new()).await?;
        found.sort_by_key(KeyValue::create_revision);
        let parsed = found.iter().map(|found| {
            let key = String::from_utf8_lossy(found.key()).into_owned();
            let id = self.shared.keys.name_in(&folder, &key).to_owned();
            let summary = value::read(found.value()).map_err(|why| unreadable(&id, why))?;
            Ok((id, summary))
        });
        parsed.collect()
    }

    /// The last state of a deployment, its summary, and the revision of that state.
    pub(super) async fn head(&self, id: &str) -> Result<Option<(Head, Summary, i64)>, JournalError> {
        let found = self.shared.members.get(&self.shared.keys.head(id), GetOptions::new()).await?;
        let Some(found) = found.kvs().first() else { return Ok(None) };
        let head: Head = value::read(found.value()).map_err(|why| unreadable(id, why))?;
        let summary = self.shared.keys.summary(&head.group, id);
        let summary = self.shared.members.get(&summary, GetOptions::new()).await?;
        let Some(summary) = summary.kvs().first() else { return Ok(None) };
        let summary = value::read(summary.value()).map_err(|why| unreadable(id, why))?;
        Ok(Some((head, summary, found.mod_revision())))
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, JournalError> {
        let count = GetOptions::new().with_count_only();
        Ok(self.shared.members.get(key, count).await?.count() > 0)
    }

    /// The open deployment of a group.
    pub(super) async fn open_id(&self, group: &str) -> Result<Option<String>, JournalError> {
        let found = self.shared.members.get(&self.shared.keys.open(group), GetOptions::new()).await?;
        Ok(found.kvs().first().map(|found| String::from_utf8_lossy(found.value()).into_owned()))
    }

    /// All keys of a folder, in their order.
    pub(super) async fn all(&self, folder: &str, options: GetOptions) -> Result<Vec<KeyValue>, JournalError> {
        let mut all: Vec<KeyValue> = Vec::new();
        let end = end_of(folder);
        let mut from = folder.to_owned();
        loop {
            let page = options.clone().with_range(end.as_str()).with_limit(PAGE);
            let mut found = self.shared.members.get(&from, page).await?;
            let more = found.more();
            all.extend(found.take_kvs());
            match all.last() {
                // The next key after this one.
                Some(last) if more => from = format!("{}\0", String::from_utf8_lossy(last.key())),
                _ => return Ok(all),
            }
        }
    }

    /// Reads deployments, in the order of their ids.
    async fn raw_entries(&self, ids: Vec<String>) -> Result<Vec<Raw>, JournalError> {
        let mut all = Vec::new();
        for ids in ids.chunks(MOST_ENTRIES.min(MOST_OPERATIONS / READS_OF_ENTRY)) {
            all.extend(self.some_raw_entries(ids).await?);
        }
        for raw in &mut all {
            let Ok(Head { group, .. }) = value::read::<Head>(&raw.head) else { continue };
            let key = self.shared.keys.summary(&group, &raw.id);
            let found = self.shared.members.get(&key, GetOptions::new()).await?;
            if let Some(found) = found.kvs().first() {
                raw.summary = value::read(found.value());
            }
        }
        Ok(all)
    }

    async fn some_raw_entries(&self, ids: &[String]) -> Result<Vec<Raw>, JournalError> {
        let keys = &self.shared.keys;
        let newest =
            GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Descend).with_limit(1);
        let reads = ids.iter().flat_map(|id| {
            [
                TxnOp::get(keys.deployment(id), None),
                TxnOp::get(keys.head(id), None),
                TxnOp::get(keys.records(id), Some(newest.clone())),
            ]
        });
        let read = self.shared.members.txn(Txn::new().and_then(reads.collect::<Vec<_>>())).await?;
        let answers = read.op_responses();
        let first = |answer: Option<&TxnOpResponse>| match answer {
            Some(TxnOpResponse::Get(got)) => got.kvs().first().cloned(),
            _ => None,
        };
        let raw = ids.iter().zip(answers.chunks(READS_OF_ENTRY)).filter_map(|(id, answers)| {
            let (requested, head) = (first(answers.first())?, first(answers.get(1))?);
            let last = first(answers.get(2)).map(|last| last.value().to_vec());
            Some(Raw {
                id: id.clone(),
                order: requested.create_revision(),
                requested: requested.value().to_vec(),
                head: head.value().to_vec(),
                last,
                summary: Err("it has no summary".to_owned()),
            })
        });
        Ok(raw.collect())
    }
}

impl Raw {
    pub(super) fn parse(self) -> Result<Entry, JournalError> {
        let Self { id, requested, head, last, summary, .. } = self;
        let failed = |why: String| unreadable(&id, why);
        let requested: Requested = value::read(&requested).map_err(failed)?;
        let head: Head = value::read(&head).map_err(failed)?;
        let summary = summary.map_err(failed)?;
        let parse_failed = |error: serde_json::Error| unreadable(&id, error.to_string());
        let plan = serde_json::from_value(requested.plan).map_err(parse_failed)?;
        let policy = Policy::from_journal(requested.policy).map_err(parse_failed)?;
        let state = serde_json::from_value(head.state).map_err(parse_failed)?;
        // Notes after its end do not hide how it ended.
        let noted = last.filter(|_| !summary.closed).and_then(|last| value::read::<Recorded>(&last).ok());
        let (message, updated): (String, Time) =
            noted.map_or((head.message, head.at), |noted| (noted.message, noted.at));
        let Requested { id, version, previous, asked_by, reason, started, .. } = requested;
        let deployment = Deployment { id, version, previous, asked_by, reason, started, plan, policy };
        Ok(Entry { deployment, state, outcome: summary.outcome, message, updated })
    }
}

/// The readable entries. Logs the others.
fn readable(raw: Vec<Raw>) -> Vec<Entry> {
    let entries = raw.into_iter().map(Raw::parse);
    let said = entries.inspect(|entry| {
        if let Err(error) = entry {
            tracing::warn!(%error, "a deployment cannot be read and is left out");
        }
    });
    said.flatten().collect()
}

pub(super) fn unreadable(id: &str, why: String) -> JournalError {
    JournalError::Unreadable { deployment: id.to_owned(), why }
}

/// The first key after a folder. "0" follows "/".
fn end_of(folder: &str) -> String {
    format!("{}0", folder.strip_suffix('/').unwrap_or(folder))
}
