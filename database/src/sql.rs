//! What SQL says, as far as it matters: what a script drops and creates, and whether it has transactions of its own.
//!
//! A statement that is not known to lose nothing counts as one that may. So does a script that the parser does not understand.

use std::collections::BTreeSet;

use cutover_core::migration::{Drops, Migration, Thing};
use sqlparser::ast::{
    AlterTable, AlterTableOperation as Alter, CreateTable, Ident, ObjectName, ObjectType, Statement,
};
use sqlparser::dialect::{Dialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::url::Kind;

/// What the `.down.sql` of a migration would drop.
pub(crate) fn drops(kind: Kind, migration: &Migration) -> Drops {
    let Some(down) = &migration.down else { return Drops::default() };
    let mut drops = match parse(kind, &down.text) {
        Ok(statements) => dropped(kind, &statements),
        Err(why) => {
            let unclear =
                format!("{} is not understood, so what it would lose is not known: {why}", down.file);
            return Drops { things: BTreeSet::new(), unclear: Some(unclear) };
        }
    };
    let created = match parse(kind, &migration.up.text) {
        Ok(statements) => created(kind, &statements),
        Err(_) => BTreeSet::new(),
    };
    let is_new = |thing: &&Thing| {
        let table = Thing { table: thing.table.clone(), column: None };
        created.contains(*thing) || created.contains(&table)
    };
    if let Some(thing) = drops.things.iter().find(|thing| !is_new(thing)) {
        let unclear =
            format!("{} would drop {thing}, which {} does not create", down.file, migration.up.file);
        drops.unclear.get_or_insert(unclear);
    }
    drops
}

/// The transaction statement of a script that must have none.
pub(crate) fn own_transaction(kind: Kind, text: &str) -> Option<String> {
    let statements = parse(kind, text).ok()?;
    let found = statements.iter().find(|statement| {
        matches!(
            statement,
            Statement::StartTransaction { .. } | Statement::Commit { .. } | Statement::Rollback { .. }
        )
    });
    found.map(Statement::to_string)
}

/// Whether all statements change rows only, so that MySQL can put them into one transaction.
pub(crate) fn changes_rows_only(text: &str) -> bool {
    parse(Kind::Mysql, text).is_ok_and(|statements| {
        statements
            .iter()
            .all(|its| matches!(its, Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_)))
    })
}

/// The statements of a script, one by one. Fails if it cannot be cut.
pub(crate) fn statements(kind: Kind, text: &str) -> Result<Vec<String>, String> {
    let dialect = dialect(kind);
    let tokens = Tokenizer::new(&*dialect, text).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    for part in tokens.split(|token| *token == Token::SemiColon) {
        if part.iter().any(|token| !matches!(token, Token::Whitespace(_) | Token::EOF)) {
            all.push(part.iter().map(Token::to_string).collect::<String>().trim().to_owned());
        }
    }
    Ok(all)
}

fn dialect(kind: Kind) -> Box<dyn Dialect> {
    match kind {
        Kind::Sqlite => Box::new(SQLiteDialect {}),
        Kind::Postgres => Box::new(PostgreSqlDialect {}),
        Kind::Mysql => Box::new(MySqlDialect {}),
    }
}

fn parse(kind: Kind, text: &str) -> Result<Vec<Statement>, String> {
    Parser::parse_sql(&*dialect(kind), text).map_err(|error| error.to_string())
}

fn dropped(kind: Kind, statements: &[Statement]) -> Drops {
    let mut drops = Drops::default();
    let mut unclear = |statement: &Statement| {
        let text = statement.to_string();
        let begin: String = text.chars().take(80).collect();
        drops.unclear.get_or_insert(format!("it is not certain what this would lose: {begin}"));
    };
    for statement in statements {
        match statement {
            Statement::Drop {
                object_type: ObjectType::Table,
                names,
                cascade: false,
                temporary: false,
                ..
            } => {
                for name in names {
                    match table(kind, name) {
                        Some(table) => drops.things.extend([Thing { table, column: None }]),
                        None => unclear(statement),
                    }
                }
            }
            Statement::Drop {
                object_type: ObjectType::Index | ObjectType::View | ObjectType::MaterializedView,
                cascade: false,
                ..
            }
            | Statement::DropTrigger(_)
            | Statement::DropFunction(_)
            | Statement::CreateView(_)
            | Statement::CreateIndex(_)
            | Statement::CreateTrigger(_)
            | Statement::CreateFunction(_)
            | Statement::RenameTable(_)
            | Statement::Comment { .. } => {}
            Statement::CreateTable(CreateTable { or_replace: false, .. }) => {}
            Statement::AlterTable(AlterTable { name, operations, .. }) => {
                let table = table(kind, name);
                for operation in operations {
                    match (operation, &table) {
                        (Alter::DropColumn { column_names, drop_behavior: None, .. }, Some(table)) => {
                            drops.things.extend(column_names.iter().map(|column| Thing {
                                table: table.clone(),
                                column: Some(folded(kind, column)),
                            }));
                        }
                        (operation, _) if loses_nothing(operation) => {}
                        _ => unclear(statement),
                    }
                }
            }
            _ => unclear(statement),
        }
    }
    drops
}

/// Changes of a table that keep the content of its rows.
fn loses_nothing(operation: &Alter) -> bool {
    matches!(
        operation,
        Alter::AddConstraint { .. }
            | Alter::AddColumn { .. }
            | Alter::DropConstraint { drop_behavior: None, .. }
            | Alter::DropForeignKey { .. }
            | Alter::DropIndex { .. }
            | Alter::DropPrimaryKey { .. }
            | Alter::RenameColumn { .. }
            | Alter::RenameTable { .. }
            | Alter::RenameConstraint { .. }
            | Alter::ValidateConstraint { .. }
            | Alter::EnableTrigger { .. }
            | Alter::EnableRowLevelSecurity
            | Alter::OwnerTo { .. }
    ) || matches!(operation, Alter::AlterColumn { op, .. } if !op.to_string().contains("TYPE"))
}

fn created(kind: Kind, statements: &[Statement]) -> BTreeSet<Thing> {
    let mut created = BTreeSet::new();
    for statement in statements {
        match statement {
            Statement::CreateTable(CreateTable { name, .. }) => {
                created.extend(table(kind, name).map(|table| Thing { table, column: None }));
            }
            Statement::AlterTable(AlterTable { name, operations, .. }) => {
                for operation in operations {
                    if let (Alter::AddColumn { column_def, .. }, Some(table)) = (operation, table(kind, name))
                    {
                        created.insert(Thing { table, column: Some(folded(kind, &column_def.name)) });
                    }
                }
            }
            _ => {}
        }
    }
    created
}

/// The name of a table as the database knows it. `None` if it is not a plain name.
fn table(kind: Kind, name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| Some(folded(kind, part.as_ident()?))).collect();
    // The dot separates the schema.
    parts.filter(|parts| parts.iter().all(|part| !part.contains('.'))).map(|parts| parts.join("."))
}

/// PostgreSQL folds names without quotes to small letters. SQLite and MySQL compare columns without case, and so does this.
fn folded(kind: Kind, name: &Ident) -> String {
    match (kind, name.quote_style) {
        (Kind::Postgres, None) => name.value.to_lowercase(),
        _ => name.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::migration::{Folder, Source};

    use super::*;

    fn migration(up: &str, down: &str) -> Migration {
        let source = |file: &str, text: &str| Source {
            file: file.to_owned(),
            text: text.to_owned(),
            checksum: String::new(),
        };
        let folder = Folder::parse([source("1_a.up.sql", up), source("1_a.down.sql", down)]).unwrap();
        folder.migrations.into_iter().next().unwrap()
    }

    fn seen(kind: Kind, up: &str, down: &str) -> (String, Option<String>) {
        let Drops { things, unclear } = drops(kind, &migration(up, down));
        (things.iter().map(Thing::to_string).collect::<Vec<_>>().join(", "), unclear)
    }

    const ALL: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mysql];

    #[test]
    fn tables_and_columns_that_the_migration_has_made() {
        let up = "CREATE TABLE gifts (id INTEGER PRIMARY KEY);\nALTER TABLE stock ADD COLUMN gift INTEGER;";
        let down = "-- back\nALTER TABLE stock DROP COLUMN gift;\nDROP TABLE IF EXISTS gifts;";
        for kind in ALL {
            let found = seen(kind, up, down);
            assert_eq!(found, ("table \"gifts\", column \"stock.gift\"".to_owned(), None), "{kind:?}");
        }
        let of_new_table = seen(Kind::Mysql, "CREATE TABLE a (b INT, c INT)", "ALTER TABLE a DROP c");
        assert_eq!(of_new_table, ("column \"a.c\"".to_owned(), None));
        let folded = seen(Kind::Postgres, "CREATE TABLE Shop.Gifts (a int)", "DROP TABLE shop.GIFTS");
        assert_eq!(folded, ("table \"shop.gifts\"".to_owned(), None));
    }

    #[test]
    fn what_loses_no_rows_is_understood() {
        let up = "SELECT 1;";
        for down in [
            "DROP INDEX gifts_by_name",
            "DROP VIEW cheap",
            "ALTER TABLE gifts RENAME TO presents",
            "ALTER TABLE gifts RENAME COLUMN a TO b",
            "ALTER TABLE gifts ADD COLUMN a INTEGER",
            "CREATE TABLE old (a INTEGER)",
            "CREATE INDEX i ON gifts (a)",
        ] {
            assert_eq!(seen(Kind::Postgres, up, down), (String::new(), None), "{down}");
        }
        let default = "ALTER TABLE gifts ALTER COLUMN a SET DEFAULT 1, ALTER COLUMN a DROP NOT NULL";
        assert_eq!(seen(Kind::Postgres, up, default), (String::new(), None));
    }

    #[test]
    fn what_may_lose_rows_is_not_certain() {
        let up = "CREATE TABLE gifts (a INTEGER);";
        for down in [
            "DELETE FROM gifts",
            "UPDATE gifts SET a = 1",
            "TRUNCATE gifts",
            "DROP TABLE gifts CASCADE",
            "DROP SCHEMA shop",
            "DROP TYPE mood",
            "ALTER TABLE gifts ALTER COLUMN a TYPE smallint",
            "INSERT INTO old SELECT a FROM gifts",
            "DO $$ BEGIN DROP TABLE stock; END $$",
            "CALL undo()",
        ] {
            let (_, unclear) = seen(Kind::Postgres, up, down);
            assert!(unclear.is_some(), "{down}");
        }
        let (_, unclear) = seen(Kind::Postgres, up, "DROP TABLE gifts; SELEC 1");
        assert!(unclear.is_some_and(|why| why.starts_with("1_a.down.sql is not understood")));
    }

    #[test]
    fn what_the_migration_has_not_made_is_not_certain() {
        for (up, down, said) in [
            (
                "ALTER TABLE a RENAME TO b",
                "DROP TABLE b",
                "1_a.down.sql would drop table \"b\", which 1_a.up.sql does not create",
            ),
            ("CREATE TABLE b (a int)", "DROP TABLE b, c", "would drop table \"c\""),
            ("CREATE TABLE b (a int)", "ALTER TABLE c DROP COLUMN a", "would drop column \"c.a\""),
            ("SELEC", "DROP TABLE b", "would drop table \"b\""),
        ] {
            let (_, unclear) = seen(Kind::Postgres, up, down);
            assert!(unclear.as_ref().is_some_and(|why| why.contains(said)), "{unclear:?}");
        }
    }

    #[test]
    fn transactions_of_the_script_are_found() {
        for kind in ALL {
            assert_eq!(own_transaction(kind, "CREATE TABLE a (b INT); COMMIT;"), Some("COMMIT".to_owned()));
            assert!(own_transaction(kind, "BEGIN; CREATE TABLE a (b INT); END").is_some());
            assert_eq!(own_transaction(kind, "INSERT INTO a VALUES ('COMMIT;')"), None);
        }
    }

    #[test]
    fn a_script_is_cut_at_its_semicolons() {
        let text = "-- a;\nCREATE INDEX CONCURRENTLY i ON a (b); SELECT 'x;''y', $$ z; $$;\n;";
        let cut = statements(Kind::Postgres, text).unwrap();
        assert_eq!(cut.len(), 2, "{cut:?}");
        assert!(cut[0].ends_with("CREATE INDEX CONCURRENTLY i ON a (b)"), "{cut:?}");
        assert_eq!(cut[1], "SELECT 'x;''y', $$ z; $$");
        assert!(changes_rows_only("INSERT INTO a VALUES (1); UPDATE a SET b = 2; DELETE FROM a"));
        assert!(!changes_rows_only("INSERT INTO a VALUES (1); ALTER TABLE a ADD c INT"));
    }
}
