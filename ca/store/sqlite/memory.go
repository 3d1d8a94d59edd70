package sqlite

import (
	"sync"

	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
)

// effect is what a change may make untrue of what is remembered.
type effect uint8

const (
	onCertificates effect = 1 << iota // the state of certificates that are recorded: revoked, held
	onServices
	onPurged     // that certificates are there: which are not any more is in tx.gone
	onEverything = onCertificates | onServices
)

// Bounds of the memories, in entries. A certificate takes some 1.5 KB.
const (
	maxCertificates = 1024
	maxServices     = 16384
	maxSubjects     = 16384
)

// memory is what requests read again and again. It holds nothing but rows as of the last
// commit: the writer forgets what a transaction has touched before anybody hears of the
// commit, and a row that was read while the writer forgot is not remembered. Only this
// process writes; the writer sees it if another one did, and forgets all. What a request
// reads here is looked at again in the transaction that records, see guard.go.
type memory struct {
	mu           sync.Mutex
	generation   uint64 // rises whenever something is forgotten
	certificates map[certs.Serial]row
	services     map[string]policy.Service
}

func newMemory() *memory {
	return &memory{certificates: make(map[certs.Serial]row), services: make(map[string]policy.Service)}
}

// forget also forgets the certificates that are gone.
func (m *memory) forget(e effect, gone []certs.Serial) {
	if e == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.generation++
	if e&onCertificates != 0 {
		clear(m.certificates)
	}
	for _, serial := range gone {
		delete(m.certificates, serial)
	}
	if e&onServices != 0 {
		clear(m.services)
	}
}

// recall returns what in holds for key, or reads it and remembers it. The result is shared: nobody changes it.
func recall[K comparable, V any](m *memory, in map[K]V, most int, key K, read func() (V, error)) (V, error) {
	m.mu.Lock()
	value, ok := in[key]
	generation := m.generation
	m.mu.Unlock()
	if ok {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.generation != generation {
		return value, nil
	}
	makeRoom(in, most)
	in[key] = value
	return value, nil
}

// makeRoom lets any entry go: what is used often is soon back.
func makeRoom[K comparable, V any](in map[K]V, most int) {
	for victim := range in {
		if len(in) < most {
			return
		}
		delete(in, victim)
	}
}

// certificate returns a row that is remembered.
func (m *memory) certificate(serial certs.Serial) (row, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.certificates[serial]
	return r, ok
}

func (m *memory) service(name string) (policy.Service, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.services[name]
	return s, ok
}

// known is what the writer remembers for itself: rows that it has read or written, in the
// transaction under way too. It is forgotten with any rollback.
type known struct {
	version  int64 // PRAGMA data_version: another one means that another connection has committed
	issuers  map[string]int64
	subjects map[subject]int64
	last     int64 // certificates.seq of the last row
	asked    bool  // whether last, clean and before are known
	clean    bool  // no key is known to be compromised
	before   bool  // there are one-time ids or idempotency keys from before they had places
	texts    map[intoRows]string

	templates map[kin]*template
}

// kin are certificates that share a template.
type kin struct {
	issuer  int64
	profile string
}

type intoRows struct {
	into
	rows int
}

// text returns the statement for that many rows, which is long: it is made once.
func (k *known) text(table into, rows int) string {
	text, ok := k.texts[intoRows{table, rows}]
	if !ok {
		text = table.text(rows)
		k.texts[intoRows{table, rows}] = text
	}
	return text
}

type subject struct{ kind, name, id string }

func newKnown() *known {
	return &known{
		issuers: make(map[string]int64), subjects: make(map[subject]int64),
		texts: make(map[intoRows]string), templates: make(map[kin]*template),
	}
}

// doubt forgets what may have been written by what is undone now, or undone by what is done now.
func (k *known) doubt() {
	clear(k.issuers)
	clear(k.subjects)
	clear(k.templates)
	k.asked = false
}

func (k *known) subject(s subject, id int64) {
	makeRoom(k.subjects, maxSubjects)
	k.subjects[s] = id
}
