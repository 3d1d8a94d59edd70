-- A certificate's state is what its newest entry in the log says: 1 revoked, 3 held, 4
-- released. Its entries are those with a serial.
-- +goose Up
CREATE UNIQUE INDEX log_state ON log (serial, seq) WHERE serial IS NOT NULL;
CREATE INDEX log_held ON log (serial) WHERE kind = 3;
DROP INDEX log_not_after;
CREATE INDEX log_not_after ON log (not_after, kind) WHERE serial IS NOT NULL;

-- SHA-256 of the SubjectPublicKeyInfo of what was revoked for keyCompromise. Such a key
-- stays known when the certificate is forgotten.
CREATE TABLE compromised_keys (
    digest BLOB PRIMARY KEY
) WITHOUT ROWID;
