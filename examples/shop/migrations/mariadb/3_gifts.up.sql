ALTER TABLE orders ADD COLUMN gift_note VARCHAR(200);
CREATE TABLE wrappings (
    id   BIGINT PRIMARY KEY,
    name VARCHAR(200) NOT NULL UNIQUE
);
INSERT INTO wrappings (id, name) VALUES (1, 'paper'), (2, 'cloth');
