package sqlite

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/handfast/handfast/certs"
)

// querier runs a statement by its text: a tx, or the readers.
type querier interface {
	query(text string, args ...any) (*rows, error)
	queryRow(text string, args ...any) *single
}

// tx is the writer's connection inside of a transaction. It keeps every statement prepared. A
// caller's context never reaches SQLite here: an interrupt would roll back everybody's changes.
type tx struct {
	*conn
	known   *known // what the writer remembers of its own rows
	memory  *memory
	touched effect         // what this transaction may have changed already
	gone    []certs.Serial // what it has purged
	sheets  sheets         // empty between statements
}

// begin looks, with the lock of writing in its hands, whether somebody else has written.
func (t *tx) begin() error {
	if err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	t.touched, t.gone = 0, nil
	var version int64
	if err := t.queryRow("PRAGMA data_version").Scan(&version); err != nil {
		return errors.Join(err, rollBack(t))
	}
	if version != t.known.version {
		t.known = newKnown()
		t.known.version = version
		t.memory.forget(onEverything, nil)
	}
	return nil
}

// touch notes that what is remembered may be untrue for the rest of the transaction.
func (t *tx) touch(e effect) {
	t.touched |= e
	if e != 0 {
		t.known.doubt()
	}
}

// issuerID finds or makes the row of a key identifier.
func (t *tx) issuerID(keyID string) (int64, error) {
	if id, ok := t.known.issuers[keyID]; ok {
		return id, nil
	}
	octets, err := hex.DecodeString(keyID)
	if err != nil || len(octets) == 0 {
		return 0, fmt.Errorf("issuer %q is not a key identifier in hexadecimal", keyID)
	}
	var id int64
	err = t.queryRow("SELECT id FROM issuers WHERE key_id = ?", octets).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = t.inserted("INSERT INTO issuers (key_id) VALUES (?)", octets)
	}
	if err == nil {
		t.known.issuers[keyID] = id
	}
	return id, err
}

func (t *tx) subjectID(s subject) (int64, error) {
	if id, ok := t.known.subjects[s]; ok {
		return id, nil
	}
	var id int64
	err := t.queryRow("SELECT id FROM subjects WHERE kind = ? AND name = ? AND spiffe_id = ?", s.kind, s.name, s.id).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = t.inserted("INSERT INTO subjects (kind, name, spiffe_id) VALUES (?, ?, ?)", s.kind, s.name, s.id)
	}
	if err == nil {
		t.known.subject(s, id)
	}
	return id, err
}

// packed returns what stands in the row for der: the template's id and the packed form, or nil and
// der itself.
func (t *tx) packed(issuer int64, profile string, der []byte) (any, []byte, error) {
	template, err := t.template(kin{issuer, profile}, der)
	if err != nil {
		return nil, nil, err
	}
	if short, ok := template.pack(der); ok {
		return template.id, short, nil
	}
	return nil, der, nil
}

// template finds the one of k, or makes first it.
func (t *tx) template(k kin, first []byte) (*template, error) {
	if found := t.known.templates[k]; found != nil {
		return found, nil
	}
	var id int64
	var der []byte
	err := t.queryRow("SELECT id, der FROM templates WHERE issuer = ? AND profile = ?", k.issuer, k.profile).Scan(&id, &der)
	if errors.Is(err, sql.ErrNoRows) {
		der = first
		id, err = t.inserted("INSERT INTO templates (issuer, profile, der) VALUES (?, ?, ?)", k.issuer, k.profile, der)
	}
	if err != nil {
		return nil, err
	}
	t.known.templates[k] = newTemplate(id, der)
	return t.known.templates[k], nil
}

// nextSeq is the place of the next certificate.
func (t *tx) nextSeq() (int64, error) {
	err := t.ask()
	t.known.last++
	return t.known.last, err
}

// ask learns what the writer keeps count of itself from then on.
func (t *tx) ask() error {
	if t.known.asked {
		return nil
	}
	var compromised, before int
	err := t.queryRow(`SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'certificates'), 0),
		EXISTS (SELECT 1 FROM compromised_keys),
		EXISTS (SELECT 1 FROM one_time_before) OR EXISTS (SELECT 1 FROM idempotency_before)`).Scan(&t.known.last, &compromised, &before)
	t.known.clean, t.known.before, t.known.asked = compromised == 0, before != 0, err == nil
	return err
}
