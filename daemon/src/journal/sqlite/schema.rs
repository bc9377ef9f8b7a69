//! The tables of the journal, and the queries.

/// "Cutv" in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x4375_7476;
/// The oldest format that this daemon reads: that of [`TABLES`]. What came later is in `upgrade`.
pub(super) const FIRST: i32 = 2;

pub(super) const TABLES: &str = "
    CREATE TABLE deployments (
        id        TEXT PRIMARY KEY,
        grp       TEXT NOT NULL,
        version   TEXT NOT NULL,
        previous  TEXT NOT NULL,
        asked_by  TEXT NOT NULL,
        started   INTEGER NOT NULL,
        plan      TEXT NOT NULL,
        config    TEXT NOT NULL,
        outcome   TEXT,
        closed    INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX one_open ON deployments (grp) WHERE closed = 0;
    CREATE INDEX by_group ON deployments (grp);
    CREATE TABLE records (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        deployment TEXT NOT NULL REFERENCES deployments (id),
        at         INTEGER NOT NULL,
        phase      TEXT NOT NULL,
        message    TEXT NOT NULL,
        state      TEXT,
        outcome    TEXT
    );
    CREATE INDEX by_deployment ON records (deployment, seq);
    CREATE TABLE commands (
        deployment TEXT NOT NULL REFERENCES deployments (id),
        name       TEXT NOT NULL,
        pid        INTEGER NOT NULL,
        birth      TEXT NOT NULL
    );
    CREATE TABLE switches (
        seq      INTEGER PRIMARY KEY AUTOINCREMENT,
        grp      TEXT NOT NULL,
        at       INTEGER NOT NULL,
        source   TEXT NOT NULL,
        target   TEXT NOT NULL,
        reason   TEXT NOT NULL,
        asked_by TEXT NOT NULL
    );
";

/// A deployment with the last state and the last message of its records. Notes after its end do not hide how it ended.
pub(super) const SELECT_ENTRY: &str = "
    SELECT d.id, d.version, d.previous, d.asked_by, d.plan, d.config, s.state, m.message, d.reason,
           d.started, m.at, d.outcome
    FROM deployments d
    JOIN records s ON s.seq = (SELECT max(seq) FROM records WHERE deployment = d.id AND state IS NOT NULL)
    JOIN records m ON m.seq =
        (SELECT max(seq) FROM records WHERE deployment = d.id AND (d.closed = 0 OR state IS NOT NULL))
";

/// The last version that was started in slot ?2 of group ?1, and whether it is gone: rolled back, or stopped by a later deployment
/// from that slot.
pub(super) const SELECT_VERSION: &str = "
    SELECT d.version,
           coalesce(d.outcome IN ('failed', 'rolled_back'), 0) OR EXISTS (
               SELECT 1 FROM deployments l JOIN records r ON r.deployment = l.id
               WHERE l.grp = ?1 AND l.rowid > d.rowid AND json_valid(l.plan) AND json_extract(l.plan, '$.from') = ?2
                 AND l.closed = 1 AND r.phase = 'decommissioning'
           )
    FROM deployments d
    WHERE d.grp = ?1 AND json_valid(d.plan) AND json_extract(d.plan, '$.to') = ?2
      AND EXISTS (SELECT 1 FROM records WHERE deployment = d.id AND phase IN ('provisioning', 'probing'))
    ORDER BY d.rowid DESC LIMIT 1
";

/// Closed deployments of group ?1 before its last ?2 ones, except those that [`SELECT_VERSION`] needs: the last one that was
/// started in each slot, and those that have stopped a slot since.
pub(super) const SELECT_OLD: &str = "
    WITH d AS (
        SELECT rowid AS number, id, closed,
               iif(json_valid(plan), json_extract(plan, '$.from'), '') AS source,
               iif(json_valid(plan), json_extract(plan, '$.to'), '') AS target,
               EXISTS (SELECT 1 FROM records r WHERE r.deployment = id
                       AND r.phase IN ('provisioning', 'probing')) AS started,
               EXISTS (SELECT 1 FROM records r WHERE r.deployment = id AND r.phase = 'decommissioning') AS stopped
        FROM deployments WHERE grp = ?1
    ), last AS (SELECT target, max(number) AS number FROM d WHERE started GROUP BY target)
    SELECT id FROM d
    WHERE closed = 1
      AND number <= (SELECT number FROM d WHERE closed = 1 ORDER BY number DESC LIMIT 1 OFFSET ?2)
      AND NOT EXISTS (SELECT 1 FROM last WHERE last.number = d.number)
      AND (NOT stopped
           OR EXISTS (SELECT 1 FROM last WHERE last.target = d.source AND last.number > d.number)
           OR NOT EXISTS (SELECT 1 FROM last WHERE last.target = d.source))
";
