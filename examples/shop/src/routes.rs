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
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::database;
use crate::fault::Fault;
use crate::misbehave::misbehave;
use crate::shop::Shop;
use crate::stamp::{Content, stamp};

#[derive(Debug, Deserialize)]
struct NewOrder {
    product_id: i64,
    quantity: i64,
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
        let mut statement = connection.prepare_cached(&query)?;
        let products: Vec<Value> = statement.query_map([], product_json)?.collect::<Result<_, _>>()?;
        Ok(Content::new(StatusCode::OK, json!({ "products": products })))
    })
    .await
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Content {
    let query = format!("SELECT {} FROM products WHERE id = ?1", shop.product_columns());
    shop.query(move |connection| {
        let found = connection.prepare_cached(&query)?.query_row([id], product_json).optional()?;
        Ok(found.map_or_else(
            || missing("no such product"),
            |product| Content::new(StatusCode::OK, json!({ "product": product })),
        ))
    })
    .await
}

async fn place_order(State(shop): State<Arc<Shop>>, Json(new): Json<NewOrder>) -> Content {
    let version = shop.version.clone();
    shop.query(move |connection| {
        let known = connection
            .query_row("SELECT 1 FROM products WHERE id = ?1", [new.product_id], |_| Ok(()))
            .optional()?;
        if known.is_none() || new.quantity <= 0 {
            let error = "an order needs a product of the catalogue and a quantity above 0";
            return Ok(Content::new(StatusCode::UNPROCESSABLE_ENTITY, json!({ "error": error })));
        }
        connection
            .prepare_cached("INSERT INTO orders (product_id, quantity, placed_by) VALUES (?1, ?2, ?3)")?
            .execute((new.product_id, new.quantity, version))?;
        Ok(Content::new(StatusCode::CREATED, json!({ "order": { "id": connection.last_insert_rowid() } })))
    })
    .await
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Content {
    shop.query(move |connection| {
        let query = "SELECT id, product_id, quantity, placed_by FROM orders WHERE id = ?1";
        let found = connection.prepare_cached(query)?.query_row([id], order_json).optional()?;
        Ok(found.map_or_else(
            || missing("no such order"),
            |order| Content::new(StatusCode::OK, json!({ "order": order })),
        ))
    })
    .await
}

impl Shop {
    async fn query(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<Content>) -> Content {
        let failed = |error: String| {
            eprintln!("error: {error}");
            Content::new(StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": error }))
        };
        match self.pool.run(self.trouble.leaks(), query).await {
            Ok(Ok(content)) => content,
            Ok(Err(error)) => failed(error.to_string()),
            Err(database::Exhausted) => failed("no free database connection".to_owned()),
        }
    }
}

fn product_json(row: &Row<'_>) -> rusqlite::Result<Value> {
    let (id, name, price): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let stock: Option<i64> = row.get(3)?;
    Ok(json!({ "id": id, "name": name, "price_cents": price, "stock": stock }))
}

fn order_json(row: &Row<'_>) -> rusqlite::Result<Value> {
    let (id, product, quantity): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(
        json!({ "id": id, "product_id": product, "quantity": quantity, "placed_by": row.get::<_, String>(3)? }),
    )
}

fn missing(what: &str) -> Content {
    Content::new(StatusCode::NOT_FOUND, json!({ "error": what }))
}
