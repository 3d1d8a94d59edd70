package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The names of the files that FileSource reads.
const (
	CertFile   = "cert.pem"    // the leaf, then its issuers, without the root
	KeyFile    = "key.pem"     // the leaf's private key
	RootsFile  = "roots.pem"   // the roots to trust
	CRLFile    = "crl.pem"     // full CRLs; may hold none, but has to be there
	PolicyFile = "policy.json" // who may call

	// CurrentLink is a symbolic link to the directory of the files' newest generation. An
	// agent swaps it in one step, so that certificate and key change together.
	CurrentLink = "..current"
)

// FileSource follows the files that an agent keeps in dir (see CertFile and its
// siblings). It looks every second whether dir's CurrentLink points elsewhere (one
// readlink), or, in a directory without that link, whether a file's size or time has changed, and
// reads only then. All files are read out of one generation; a certificate and a key that
// do not belong together are never used.
//
// A generation that cannot be loaded leaves the last good one in force, until it expires.
// The one exception is policy: where policy.json alone is missing or malformed, the rest
// is used and every caller is refused.
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
	state string
	stuck bool // state changed while it was read: read again
}

// changed reports whether there is something that was not yet tried to be loaded.
func (w *watcher) changed() bool {
	state := w.look()
	if state == w.state && !w.stuck {
		return false
	}
	w.state, w.stuck = state, false
	return true
}

// look describes the directory's state, cheaply.
func (w *watcher) look() string {
	if target, err := os.Readlink(filepath.Join(w.dir, CurrentLink)); err == nil {
		return CurrentLink + " " + target
	}
	var b strings.Builder
	for _, name := range []string{CertFile, KeyFile, RootsFile, CRLFile, PolicyFile} {
		info, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil {
			fmt.Fprintf(&b, "%s absent\n", name)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// load reads the state that changed has seen. Should the directory change meanwhile, what
// was read may be a mixture, so it is dropped and read again at the next look.
func (w *watcher) load(old *Snapshot) (*Snapshot, error) {
	dir := w.dir
	if target, ok := strings.CutPrefix(w.state, CurrentLink+" "); ok {
		if dir = target; !filepath.IsAbs(dir) {
			dir = filepath.Join(w.dir, dir)
		}
	}
	snap, err := loadDir(dir, old)
	if w.look() != w.state {
		w.stuck = true
		return nil, errors.New("the files changed while they were read; reading them again")
	}
	return snap, err
}

// loadDir reads one generation. A snapshot together with an error lacks its policy.
func loadDir(dir string, old *Snapshot) (*Snapshot, error) {
	chain, err := readCertificates(dir, CertFile)
	if err != nil {
		return nil, err
	}
	roots, err := readCertificates(dir, RootsFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readLimited(dir, KeyFile, maxPEMSize)
	if err != nil {
		return nil, err
	}
	key, err := parseKeyPEM(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, KeyFile), err)
	}
	revocation, err := readRevocation(dir, old)
	if err != nil {
		return nil, err
	}
	certificate := certificateOf(chain, key)
	policy, policyErr := readPolicy(dir)
	snap, err := NewSnapshot(certificate, roots, policy, revocation)
	if err != nil && policy != nil {
		// Another service's policy is no policy; the rest may be sound.
		policyErr = err
		snap, err = NewSnapshot(certificate, roots, nil, revocation)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if policyErr != nil {
		return snap, fmt.Errorf("%w; until that is mended every caller is refused", policyErr)
	}
	return snap, nil
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
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has over %d bytes", path, limit)
	}
	return data, nil
}
