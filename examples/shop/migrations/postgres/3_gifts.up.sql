ALTER TABLE orders ADD COLUMN gift_note TEXT;
CREATE TABLE wrappings (
    id   BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO wrappings (id, name) VALUES (1, 'paper'), (2, 'cloth');
