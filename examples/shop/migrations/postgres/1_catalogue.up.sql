CREATE TABLE products (
    id          BIGINT PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    price_cents BIGINT NOT NULL CHECK (price_cents > 0)
);
CREATE TABLE orders (
    id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    product_id BIGINT NOT NULL REFERENCES products (id),
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    placed_by  TEXT    NOT NULL
);
INSERT INTO products (id, name, price_cents) VALUES (1, 'tea', 450), (2, 'teapot', 3200), (3, 'honey', 780);
