-- Orders that were placed meanwhile stay; what only the newer release knows of them goes.
DROP TABLE wrappings;
ALTER TABLE orders DROP COLUMN gift_note;
