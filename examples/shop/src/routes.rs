//! What the shop answers.
//!
//! | route | answers |
//! |---|---|
//! | `GET /health/live` | 200 while the process runs |
//! | `GET /health/ready` | 200 when the database can be read and has the schema this release needs, else 503 and why |
//! | `GET /products`, `GET /products/ID` | the catalogue |
//! | `POST /orders` with `{"product_id":1,"quantity":2}` | 201 and the order |
//! | `GET /orders/ID` | the order |

use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::database::{Connection, Exhausted};
use crate::fault::Fault;
use crate::misbehave::misbehave;
use crate::shop::Shop;
use crate::stamp::{Content, stamp};

#[derive(Debug, Deserialize)]
struct NewOrder {
    product_id: i64,
    quantity: i64,
    /// From schema 3 on.
    gift_note: Option<String>,
}

pub(crate) fn router(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/health/live", get(async || Content::new(StatusCode::OK, json!({ "alive": true }))))
        .route("/health/ready", get(ready))
        .route("/products", get(products))
        .route("/products/{id}", get(product))
        .route("/orders", post(place_order))
        .route("/orders/{id}", get(order))
        .fallback(async || missing("no such page"))
        .layer(from_fn_with_state(Arc::clone(&shop), misbehave))
        .layer(from_fn_with_state(Arc::clone(&shop), stamp))
        .with_state(shop)
}

async fn ready(State(shop): State<Arc<Shop>>) -> Content {
    match shop.readiness() {
        Ok(schema) => Content::new(StatusCode::OK, json!({ "ready": true, "schema": schema })),
        Err(why) => Content::new(StatusCode::SERVICE_UNAVAILABLE, json!({ "ready": false, "error": why })),
    }
}

async fn products(State(shop): State<Arc<Shop>>) -> Content {
    let filter = if shop.trouble.is(Fault::BadCatalogue) { "WHERE price_cents < 0" } else { "" };
    let query = format!("SELECT {} FROM products {filter} ORDER BY id", shop.product_columns());
    shop.query(move |connection| {
        let products: Vec<Value> =
            connection.rows(&query, &[])?.iter().map(|row| product_json(row)).collect();
        Ok(Content::new(StatusCode::OK, json!({ "products": products })))
    })
    .await
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Content {
    let query = format!("SELECT {} FROM products WHERE id = ?", shop.product_columns());
    shop.query(move |connection| {
        Ok(connection.rows(&query, &[id.into()])?.first().map_or_else(
            || missing("no such product"),
            |row| Content::new(StatusCode::OK, json!({ "product": product_json(row) })),
        ))
    })
    .await
}

async fn place_order(State(shop): State<Arc<Shop>>, Json(new): Json<NewOrder>) -> Content {
    let (version, with_note) = (shop.version.clone(), shop.schema >= 3);
    shop.query(move |connection| {
        let known = connection.rows("SELECT id FROM products WHERE id = ?", &[new.product_id.into()])?;
        if known.is_empty() || new.quantity <= 0 {
            let error = "an order needs a product of the catalogue and a quantity above 0";
            return Ok(Content::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error })));
        }
        let mut values: Vec<Value> = vec![new.product_id.into(), new.quantity.into(), version.into()];
        let query = match (new.gift_note, with_note) {
            (Some(note), true) => {
                values.push(note.into());
                "INSERT INTO orders (product_id, quantity, placed_by, gift_note) VALUES (?, ?, ?, ?) RETURNING id"
            }
            _ => "INSERT INTO orders (product_id, quantity, placed_by) VALUES (?, ?, ?) RETURNING id",
        };
        let id = connection.rows(query, &values)?.into_iter().flatten().next();
        Ok(Content::new(StatusCode::CREATED, json!({ "order": { "id": id } })))
    })
    .await
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Content {
    shop.query(move |connection| {
        let query = "SELECT id, product_id, quantity, placed_by FROM orders WHERE id = ?";
        Ok(connection.rows(query, &[id.into()])?.first().map_or_else(
            || missing("no such order"),
            |row| Content::new(StatusCode::OK, json!({ "order": order_json(row) })),
        ))
    })
    .await
}

impl Shop {
    async fn query(&self, query: impl FnOnce(&mut Connection) -> anyhow::Result<Content>) -> Content {
        let failed = |error: String| {
            eprintln!("error: {error}");
            Content::new(StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error }))
        };
        match self.pool.run(self.trouble.leaks(), query).await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => failed(error.to_string()),
            Err(Exhausted) => failed("no free database connection".to_owned()),
        }
    }
}

fn product_json(row: &[Value]) -> Value {
    match row {
        [id, name, price, stock] => json!({ "id": id, "name": name, "price_cents": price, "stock": stock }),
        _ => Value::Null,
    }
}

fn order_json(row: &[Value]) -> Value {
    match row {
        [id, product, quantity, by] => {
            json!({ "id": id, "product_id": product, "quantity": quantity, "placed_by": by })
        }
        _ => Value::Null,
    }
}

fn missing(what: &str) -> Content {
    Content::new(StatusCode::NOT_FOUND, json!({ "error": what }))
}
