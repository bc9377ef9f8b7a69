//! The keys below the prefix.
//!
//! ```text
//! leader                    who leads, with the lease of that daemon; its create revision is the epoch
//! last                      changes with each record
//! deployments/ID            the deployment as it was requested; its create revision gives the order
//! groups/GROUP/ID           what a search through the group's deployments needs
//! heads/ID                  the last state
//! open/GROUP                the id of the open deployment
//! records/ID/TIME-HASH      a record; its create revision is the sequence number
//! commands/ID/HOST/PID-HASH a command that is not known to have ended
//! switches/GROUP/TIME-HASH  a switch by hand
//! moving/GROUP              a switch by hand that has not ended
//! told/GROUP                what the hook of the group was told last
//! acts/of/GROUP/TIME-HASH   what was done by hand with a group, beside switches
//! acts/all/TIME-HASH        what was done with all groups
//! freezes/of/GROUP          who has frozen a group
//! freezes/all               who has frozen all groups
//! ```
//!
//! Names of groups and ids contain no "/".

/// Makes keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// `prefix` ends with "/".
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    pub(super) fn leader(&self) -> String {
        self.key("leader")
    }

    pub(super) fn last(&self) -> String {
        self.key("last")
    }

    pub(super) fn deployments(&self) -> String {
        self.key("deployments/")
    }

    pub(super) fn deployment(&self, id: &str) -> String {
        self.key(&format!("deployments/{id}"))
    }

    pub(super) fn group(&self, group: &str) -> String {
        self.key(&format!("groups/{group}/"))
    }

    pub(super) fn summary(&self, group: &str, id: &str) -> String {
        self.key(&format!("groups/{group}/{id}"))
    }

    pub(super) fn head(&self, id: &str) -> String {
        self.key(&format!("heads/{id}"))
    }

    pub(super) fn all_open(&self) -> String {
        self.key("open/")
    }

    pub(super) fn open(&self, group: &str) -> String {
        self.key(&format!("open/{group}"))
    }

    pub(super) fn records(&self, id: &str) -> String {
        self.key(&format!("records/{id}/"))
    }

    pub(super) fn record(&self, id: &str, name: &str) -> String {
        self.key(&format!("records/{id}/{name}"))
    }

    pub(super) fn all_commands(&self) -> String {
        self.key("commands/")
    }

    pub(super) fn commands(&self, id: &str) -> String {
        self.key(&format!("commands/{id}/"))
    }

    pub(super) fn command(&self, id: &str, host: &str, name: &str) -> String {
        self.key(&format!("commands/{id}/{host}/{name}"))
    }

    pub(super) fn all_switches(&self) -> String {
        self.key("switches/")
    }

    pub(super) fn switches(&self, group: &str) -> String {
        self.key(&format!("switches/{group}/"))
    }

    pub(super) fn switch(&self, group: &str, name: &str) -> String {
        self.key(&format!("switches/{group}/{name}"))
    }

    pub(super) fn all_moving(&self) -> String {
        self.key("moving/")
    }

    pub(super) fn moving(&self, group: &str) -> String {
        self.key(&format!("moving/{group}"))
    }

    pub(super) fn told(&self, group: &str) -> String {
        self.key(&format!("told/{group}"))
    }

    pub(super) fn all_freezes(&self) -> String {
        self.key("freezes/")
    }

    /// No name of a group contains "/", so the freeze of all groups has a folder of its own.
    pub(super) fn freeze(&self, group: Option<&str>) -> String {
        match group {
            Some(group) => self.key(&format!("freezes/of/{group}")),
            None => self.key("freezes/all"),
        }
    }

    pub(super) fn all_acts(&self) -> String {
        self.key("acts/")
    }

    /// The folder of a group, or the one for all groups.
    pub(super) fn acts(&self, group: Option<&str>) -> String {
        match group {
            Some(group) => self.key(&format!("acts/of/{group}/")),
            None => self.key("acts/all/"),
        }
    }

    /// The part of a key after `folder`.
    pub(super) fn name_in<'a>(&self, folder: &str, key: &'a str) -> &'a str {
        key.strip_prefix(folder).unwrap_or(key)
    }
}
