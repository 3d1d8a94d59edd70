-- What agents said of themselves, so that who is silent is known after a restart.
-- +goose Up
CREATE TABLE agents (
    service     TEXT NOT NULL,
    id          TEXT NOT NULL,
    issuer      BLOB NOT NULL, -- of the certificate that it showed last
    serial      BLOB NOT NULL,
    not_after   INTEGER NOT NULL,
    version     TEXT NOT NULL,
    address     TEXT NOT NULL,
    enforced    INTEGER NOT NULL, -- up to this number of the log
    enforced_at INTEGER NOT NULL, -- milliseconds; 0 is never
    silent      INTEGER NOT NULL, -- since, milliseconds; 0 is connected
    stopped     INTEGER NOT NULL,
    PRIMARY KEY (service, id)
) WITHOUT ROWID;
CREATE INDEX agents_not_after ON agents (not_after);

ALTER TABLE services ADD COLUMN max_silence INTEGER NOT NULL DEFAULT 0; -- 0 is the feed's own
