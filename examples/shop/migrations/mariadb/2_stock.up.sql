-- The default lets the release before this one insert rows without this column.
ALTER TABLE products ADD COLUMN stock BIGINT NOT NULL DEFAULT 1000;
