-- Times are Unix seconds, durations nanoseconds, serials and key identifiers their octets.
-- +goose Up
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
-- epoch counts changes of services; its value at a service's change is the service's version.
INSERT INTO counters VALUES ('epoch', 0);

-- What a probe overwrites: no less than an issuance, or it would fit where that does not.
CREATE TABLE probe (
    id     INTEGER PRIMARY KEY,
    count  INTEGER NOT NULL,
    filler BLOB NOT NULL
);
INSERT INTO probe VALUES (1, 0, x'');

CREATE TABLE issuers (
    id     INTEGER PRIMARY KEY,
    key_id BLOB NOT NULL UNIQUE
);

CREATE TABLE subjects (
    id        INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    spiffe_id TEXT NOT NULL,
    UNIQUE (kind, name, spiffe_id)
);

-- Rows are appended, so that the pages are full; AUTOINCREMENT because idempotency
-- names rows by seq and must never find another one.
CREATE TABLE certificates (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    serial     BLOB NOT NULL UNIQUE,
    subject    INTEGER NOT NULL REFERENCES subjects,
    issuer     INTEGER NOT NULL REFERENCES issuers,
    profile    TEXT NOT NULL,
    method     TEXT NOT NULL,
    asked_by   TEXT, -- NULL is the subject itself
    not_before INTEGER NOT NULL,
    not_after  INTEGER NOT NULL,
    issued_at  INTEGER NOT NULL,
    der        BLOB NOT NULL
);
CREATE INDEX certificates_subject ON certificates (subject);
CREATE INDEX certificates_not_after ON certificates (not_after);

-- The revocation log. AUTOINCREMENT because its numbers are CRL numbers, which never come again.
CREATE TABLE log (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      INTEGER NOT NULL, -- revocation.Kind: 1 revoked, 2 published
    issuer    INTEGER NOT NULL REFERENCES issuers,
    serial    BLOB,
    reason    INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    done_by   TEXT NOT NULL
);
CREATE UNIQUE INDEX log_serial ON log (serial) WHERE kind = 1;
CREATE INDEX log_not_after ON log (not_after) WHERE kind = 1;
CREATE INDEX log_published ON log (issuer) WHERE kind = 2;

-- Ids and keys are chosen by others and may be long: their SHA-256 stands for them.
CREATE TABLE one_time (
    id         BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX one_time_expires_at ON one_time (expires_at);

CREATE TABLE idempotency (
    key         BLOB PRIMARY KEY,
    digest      BLOB NOT NULL,
    certificate INTEGER NOT NULL, -- certificates.seq; the row may be purged before this one
    expires_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_expires_at ON idempotency (expires_at);

CREATE TABLE services (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    dns     TEXT NOT NULL, -- JSON lists
    ips     TEXT NOT NULL,
    callers TEXT NOT NULL,
    profile TEXT NOT NULL,
    ttl     INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
);

CREATE TABLE operators (
    name     TEXT PRIMARY KEY,
    role     TEXT NOT NULL,
    services TEXT NOT NULL,
    created  INTEGER NOT NULL
) WITHOUT ROWID;
