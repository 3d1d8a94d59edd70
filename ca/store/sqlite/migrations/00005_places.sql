-- Ids and keys that are used at about the same time stand together: 4 octets of their place
-- (see ca.Placed), then 16 of the SHA-256 of the rest. What was used before has no place, and
-- stays where it is, looked at until it has expired.
-- +goose Up
ALTER TABLE one_time RENAME TO one_time_before;
CREATE TABLE one_time (
    id         BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX one_time_expiry ON one_time (expires_at);

ALTER TABLE idempotency RENAME TO idempotency_before;
CREATE TABLE idempotency (
    key         BLOB PRIMARY KEY,
    digest      BLOB NOT NULL, -- 16 octets of it
    certificate INTEGER NOT NULL, -- certificates.seq; the row may be purged before this one
    expires_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
