-- What a certificate takes on disk, less than half of what it was.
-- +goose Up

-- Ids and keys are chosen by others and may be long: 16 octets of their SHA-256 stand for
-- them. That is enough, as nobody gains by two of their own that collide.
CREATE TABLE one_time_short (
    id         BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO one_time_short SELECT substr(id, 1, 16), expires_at FROM one_time ORDER BY id;
DROP TABLE one_time;
ALTER TABLE one_time_short RENAME TO one_time;
CREATE INDEX one_time_expires_at ON one_time (expires_at);

CREATE TABLE idempotency_short (
    key         BLOB PRIMARY KEY,
    digest      BLOB NOT NULL, -- 16 octets, too
    certificate INTEGER NOT NULL, -- certificates.seq; the row may be purged before this one
    expires_at  INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO idempotency_short SELECT substr(key, 1, 16), substr(digest, 1, 16), certificate, expires_at FROM idempotency ORDER BY key;
DROP TABLE idempotency;
ALTER TABLE idempotency_short RENAME TO idempotency;
CREATE INDEX idempotency_expires_at ON idempotency (expires_at);

-- Certificates of one issuer and profile are alike but for 200 octets or so. The first one is the
-- template, which is never deleted; the others hold what is different, see der.go.
CREATE TABLE templates (
    id      INTEGER PRIMARY KEY,
    issuer  INTEGER NOT NULL REFERENCES issuers,
    profile TEXT NOT NULL,
    der     BLOB NOT NULL,
    UNIQUE (issuer, profile)
);
ALTER TABLE certificates ADD COLUMN template INTEGER; -- NULL: der is the certificate
