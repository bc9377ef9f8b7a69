//! The table of running commands. A restarted daemon finds abandoned commands in it.

use rusqlite::params;

use super::super::LeftCommand;
use super::{JournalError, SqliteJournal};
use crate::command::Leader;

impl SqliteJournal {
    /// Records a command that has started.
    pub async fn command_started(&self, id: &str, name: &str, leader: &Leader) -> Result<(), JournalError> {
        match self.command_started_once(id, name, leader).await {
            Err(error) if self.reserve.give_up_for(&error) => {
                self.command_started_once(id, name, leader).await
            }
            done => done,
        }
    }

    async fn command_started_once(&self, id: &str, name: &str, leader: &Leader) -> Result<(), JournalError> {
        let (id, name, leader) = (id.to_owned(), name.to_owned(), leader.clone());
        self.blocking(move |connection| {
            connection.execute(
                "INSERT INTO commands (deployment, name, pid, birth) VALUES (?1, ?2, ?3, ?4)",
                params![id, name, leader.pid, leader.birth],
            )?;
            Ok(())
        })
        .await
    }

    /// Removes the records of commands of a deployment that have ended.
    pub async fn commands_ended(&self, id: &str, leaders: Vec<Leader>) -> Result<(), JournalError> {
        let id = id.to_owned();
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            for Leader { pid, birth } in &leaders {
                transaction.execute(
                    "DELETE FROM commands WHERE deployment = ?1 AND pid = ?2 AND birth = ?3",
                    params![id, pid, birth],
                )?;
            }
            transaction.commit()
        })
        .await
    }

    /// Deployments with commands that are not known to have ended.
    pub async fn deployments_with_commands(&self) -> Result<Vec<String>, JournalError> {
        self.blocking(|connection| {
            let mut select = connection.prepare("SELECT DISTINCT deployment FROM commands")?;
            let rows = select.query_map([], |row| row.get(0))?;
            rows.collect()
        })
        .await
    }

    /// Commands of a deployment that are not known to have ended.
    pub async fn commands(&self, id: &str) -> Result<Vec<LeftCommand>, JournalError> {
        let id = id.to_owned();
        self.blocking(move |connection| {
            let mut select =
                connection.prepare("SELECT pid, birth, name FROM commands WHERE deployment = ?1")?;
            let rows = select.query_map([id], |row| {
                let leader = Leader { pid: row.get(0)?, birth: row.get(1)? };
                Ok(LeftCommand { name: row.get(2)?, leader, elsewhere: None })
            })?;
            rows.collect()
        })
        .await
    }
}
