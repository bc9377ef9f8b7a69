-- The default lets the release before this one insert rows without this column.
ALTER TABLE products ADD COLUMN stock INTEGER NOT NULL DEFAULT 1000;
