-- Orders placed in the meantime stay, without the columns of the newer release.
DROP TABLE wrappings;
ALTER TABLE orders DROP COLUMN gift_note;
