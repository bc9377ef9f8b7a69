-- With a default: the release before this one goes on inserting without knowing the column.
ALTER TABLE products ADD COLUMN stock INTEGER NOT NULL DEFAULT 1000;
