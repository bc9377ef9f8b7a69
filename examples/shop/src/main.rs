//! A small shop: JSON over HTTP, an SQLite database with versioned migrations, honest health checks, and releases that
//! go wrong in the ways releases do. It is what the simulation and the tests of Cutover deploy.

#![forbid(unsafe_code)]

mod database;
mod fault;
mod migrations;
mod misbehave;
mod routes;
mod serve;
mod shop;
mod stamp;
mod trouble;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::serve::Serve;

/// A small shop to deploy.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answers requests until SIGTERM.
    Serve(Serve),
    /// Changes the database's schema.
    Migrate {
        #[command(subcommand)]
        direction: Direction,
    },
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Applies what is missing, up to a version.
    Up {
        /// The database file; created when it does not exist.
        #[arg(long)]
        database: PathBuf,
        /// The schema version to reach.
        #[arg(long, default_value_t = migrations::LATEST)]
        to: u32,
        /// Who applies it: what `down` takes back together.
        #[arg(long, env = "CUTOVER_DEPLOYMENT", default_value = "by hand")]
        batch: String,
    },
    /// Takes back what one batch applied; nothing when it applied nothing.
    Down {
        /// The database file.
        #[arg(long)]
        database: PathBuf,
        /// Whose migrations to take back.
        #[arg(long, env = "CUTOVER_DEPLOYMENT", default_value = "by hand")]
        batch: String,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Serve(serve) => serve.run(),
        Verb::Migrate { direction: Direction::Up { database, to, batch } } => {
            migrations::up(&mut database::open_file(&database)?, to, &batch)
        }
        Verb::Migrate { direction: Direction::Down { database, batch } } => {
            migrations::down(&mut database::open_file(&database)?, &batch)
        }
    }
}
