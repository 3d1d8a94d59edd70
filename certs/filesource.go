package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The names of the files that FileSource reads.
const (
	CertFile   = "cert.pem"    // the leaf, then its issuers, without the root
	KeyFile    = "key.pem"     // the leaf's private key
	RootsFile  = "roots.pem"   // the roots to trust
	CRLFile    = "crl.pem"     // full CRLs; empty is none, absent is unknown: every peer is refused
	PolicyFile = "policy.json" // who may call; absent is unknown: every caller is refused
	StapleFile = "staple.der"  // an OCSP response for the leaf, DER; absent is none

	// CurrentLink is a symbolic link to the directory of the files' newest generation. An
	// agent swaps it in one step, so that certificate and key change together.
	CurrentLink = "..current"
)

// FileSource follows the files that an agent keeps in dir (see CertFile and its
// siblings). It looks every second whether dir's CurrentLink points elsewhere (one
// readlink), or, in a directory without that link, whether a file was replaced or changed, and
// reads only then. All files are read out of one generation; a certificate and a key that
// do not belong together are never used.
//
// A generation that cannot be loaded leaves the last good one in force, until it expires. There
// are two exceptions, both on the safe side: where policy.json is missing or malformed
// every caller is refused, and where crl.pem is missing every peer is.
func FileSource(dir string, opts ...FollowOption) *Follower {
	o := collectFollow(opts)
	return follow(o, func(ctx context.Context, f *Follower) {
		w := &watcher{dir: dir}
		for {
			if w.changed() {
				f.publish(w.load(f.current.Load()))
			}
			if !pause(ctx, o.every) {
				return
			}
		}
	})
}

// watcher remembers which state of the directory was looked at last.
type watcher struct {
	dir   string
	state dirState
	stuck bool // the state changed again and again while it was read
}

// dirState tells one state of the directory from another: the generation's name, or,
// without one, the files themselves.
type dirState struct {
	looked     bool
	generation string
	files      [6]os.FileInfo // nil where there is none
}

func (s dirState) equal(other dirState) bool {
	if s.looked != other.looked || s.generation != other.generation {
		return false
	}
	for i, a := range s.files {
		b := other.files[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())) {
			return false
		}
	}
	return true
}

// changed reports whether there is something that was not yet tried to be loaded.
func (w *watcher) changed() bool {
	state := w.look()
	if state.equal(w.state) && !w.stuck {
		return false
	}
	w.state, w.stuck = state, false
	return true
}

// look describes the directory's state, cheaply.
func (w *watcher) look() dirState {
	state := dirState{looked: true}
	if target, err := os.Readlink(filepath.Join(w.dir, CurrentLink)); err == nil {
		state.generation = target
		return state
	}
	for i, name := range []string{CertFile, KeyFile, RootsFile, CRLFile, PolicyFile, StapleFile} {
		if info, err := os.Stat(filepath.Join(w.dir, name)); err == nil {
			state.files[i] = info
		}
	}
	return state
}

// attempts is how often a state is read that changes while it is read.
const attempts = 3

// load reads the state that changed has seen. Should the directory change meanwhile, what
// was read may be a mixture or half gone, so it is read again.
func (w *watcher) load(old *Snapshot) (*Snapshot, error) {
	for range attempts {
		snap, err := loadDir(w.place(), old)
		now := w.look()
		if now.equal(w.state) {
			return snap, err
		}
		w.state = now
	}
	w.stuck = true
	return nil, fmt.Errorf("%s: the files changed %d times while they were read", w.dir, attempts)
}

// place is where the state's files stand.
func (w *watcher) place() string {
	switch target := w.state.generation; {
	case target == "":
		return w.dir
	case filepath.IsAbs(target):
		return target
	default:
		return filepath.Join(w.dir, target)
	}
}

// loadDir reads one generation. A snapshot together with an error lacks what the error says.
func loadDir(dir string, old *Snapshot) (*Snapshot, error) {
	certificate, err := readOwn(dir)
	if err != nil {
		return nil, err
	}
	roots, err := readCertificates(dir, RootsFile)
	if err != nil {
		return nil, err
	}
	var lacking []error
	if certificate.OCSPStaple, err = readStaple(dir, certificate.Leaf); err != nil {
		lacking = append(lacking, fmt.Errorf("%w: nothing is stapled", err))
	}
	revocation, err := readRevocation(dir, old)
	if errors.Is(err, fs.ErrNotExist) {
		lacking = append(lacking, fmt.Errorf("%w: every peer is refused", err))
	} else if err != nil {
		return nil, err
	}
	policy, err := readPolicy(dir)
	if err != nil {
		lacking = append(lacking, fmt.Errorf("%w: every caller is refused", err))
	}
	snap, err := NewSnapshot(certificate, roots, policy, revocation)
	if err != nil && policy != nil {
		// Another service's policy is no policy; the rest may be sound.
		lacking = append(lacking, fmt.Errorf("%w: every caller is refused", err))
		snap, err = NewSnapshot(certificate, roots, nil, revocation)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return snap, errors.Join(lacking...)
}

// readOwn reads certificate and key.
func readOwn(dir string) (*tls.Certificate, error) {
	chain, err := readCertificates(dir, CertFile)
	if err != nil {
		return nil, err
	}
	data, err := readLimited(dir, KeyFile, maxPEMSize)
	if err != nil {
		return nil, err
	}
	key, err := parseKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, KeyFile), err)
	}
	return certificateOf(chain, key), nil
}

func readCertificates(dir, name string) ([]*x509.Certificate, error) {
	data, err := readLimited(dir, name, maxPEMSize)
	if err != nil {
		return nil, err
	}
	chain, err := ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return chain, nil
}

func readRevocation(dir string, old *Snapshot) (*Revocation, error) {
	data, err := readLimited(dir, CRLFile, maxPEMCRLSize)
	if err != nil {
		return nil, err
	}
	ders, err := parsePEM(data, "X509 CRL", maxPEMCRLSize, maxCRLs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, CRLFile), err)
	}
	revocation, err := reuseRevocation(ders, old)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, CRLFile), err)
	}
	return revocation, nil
}

func readPolicy(dir string) (*Policy, error) {
	data, err := readLimited(dir, PolicyFile, maxPolicySize)
	if err != nil {
		return nil, err
	}
	policy, err := ParsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, PolicyFile), err)
	}
	return policy, nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(dir, name string, limit int64) ([]byte, error) {
	path := filepath.Join(dir, name)
	file, err := os.Open(path) // #nosec G304 -- the directory is the caller's choice
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has over %d bytes", path, limit)
	}
	return data, nil
}
