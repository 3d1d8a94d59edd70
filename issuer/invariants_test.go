package issuer

import (
	"bytes"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs"
)

// Invariant 3: a serial is positive, at most 20 octets, at least 120 random bits.
func TestSerialIsPositiveShortAndRandom(t *testing.T) {
	if serialBits < 120 {
		t.Fatalf("%d random bits", serialBits)
	}
	const rounds = 4000
	seen := make(map[string]bool)
	ones := make([]int, 8*certs.MaxSerialOctets)
	for range rounds {
		octets, err := newSerial(epoch())
		if err != nil {
			t.Fatal(err)
		}
		serial, err := certs.SerialFromBytes(octets)
		if err != nil {
			t.Fatal(err)
		}
		if n := serial.Int(); n.Sign() <= 0 || n.BitLen() > 159 || len(serial.Bytes()) > 20 {
			t.Fatalf("serial %s", serial)
		}
		if seen[string(octets)] {
			t.Fatalf("serial %x twice in %d", octets, rounds)
		}
		seen[string(octets)] = true
		for i := range ones {
			ones[i] += int(octets[i/8] >> (7 - i%8) & 1)
		}
	}
	random := 0
	for _, n := range ones {
		// A fair bit lands outside of this with a probability below 10^-20.
		if n > rounds/2-300 && n < rounds/2+300 {
			random++
		}
	}
	if random != serialBits {
		t.Fatalf("%d bits look random instead of %d", random, serialBits)
	}
}

// Serials sort by when they were made, and have 20 octets then and after the time has begun anew.
func TestSerialsSortByTime(t *testing.T) {
	last := ""
	for _, after := range []time.Duration{0, serialTick, time.Second - serialTick, time.Second, time.Hour, 20 * 365 * 24 * time.Hour} {
		octets, err := newSerial(epoch().Truncate(time.Second).Add(after))
		if err != nil {
			t.Fatal(err)
		}
		if string(octets) <= last {
			t.Errorf("after %s: serial %x is not above %x", after, octets, last)
		}
		last = string(octets)
	}
	for _, now := range []time.Time{{}, time.Unix(-1, 999), time.Unix(1<<32-1, 999_999_999), time.Unix(1<<32, 0)} {
		octets, err := newSerial(now)
		if err != nil {
			t.Fatal(err)
		}
		if len(octets) != certs.MaxSerialOctets || octets[0]>>6 != 1 {
			t.Errorf("at %s: serial %x", now, octets)
		}
	}
}

// Invariant 4: a leaf never outlives its issuer, nor starts before it. Over random
// profiles, issuers, lifetimes and clocks.
func TestLeafLiesWithinIssuer(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(random.Int64N(int64(high-low+1))).Truncate(time.Second)
	}
	key := mustCheckKey(t, mustKey(t, ECDSAP256).Public())
	td := mustTrustDomain(t, "prod.example.org")
	issued, refused := 0, 0
	for range 12 {
		ca := newTestCAFrom(t, ECDSAP256, epoch().Add(-between(0, 400*24*time.Hour)))
		config := ProfileConfig{
			Name: "random", TrustDomain: td, ServerAuth: true, KeyAlgorithms: []Algorithm{ECDSAP256},
			Lifetime: between(MinLifetime, MaxLifetime), Backdate: between(0, MaxBackdate),
		}
		p, err := ca.issuer.Compile(config, testEndpoints())
		if err != nil {
			t.Fatal(err)
		}
		from, to := ca.issuing.NotBefore, ca.issuing.NotAfter
		clocks := []time.Time{
			from, from.Add(-time.Nanosecond), from.Add(time.Nanosecond), from.Add(-time.Second), from.Add(time.Second),
			to, to.Add(-time.Nanosecond), to.Add(time.Nanosecond), to.Add(-time.Second), to.Add(time.Second),
			{}, time.Unix(0, 0), time.Unix(1<<40, 0), from.In(time.FixedZone("east", 14*3600)),
		}
		for range 60 {
			clocks = append(clocks, from.Add(-24*time.Hour+time.Duration(random.Int64N(int64(to.Sub(from)+48*time.Hour)))))
		}
		for _, now := range clocks {
			s := testSubject(t, key)
			if random.IntN(2) == 0 {
				s.TTL = between(MinLifetime, 2*MaxLifetime)
			}
			draft, err := p.Draft(s, now)
			if now.Truncate(time.Second).Before(from) || !now.Truncate(time.Second).Before(to) {
				if !errors.Is(err, ErrClock) && !errors.Is(err, ErrIssuerExpired) {
					t.Fatalf("at %s with an issuer from %s to %s: error %v", now, from, to, err)
				}
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			issued++
			checkWithin(t, ca, draft, now)
		}
	}
	if issued < 400 || refused < 50 {
		t.Fatalf("%d issued and %d refused: the property was hardly tried", issued, refused)
	}
}

func checkWithin(t *testing.T, ca testCA, draft Draft, now time.Time) {
	t.Helper()
	checked, err := draft.Check()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := ca.issuer.Sign(checked)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(signed.DER)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case leaf.NotBefore.Before(ca.issuing.NotBefore), leaf.NotAfter.After(ca.issuing.NotAfter):
		t.Fatalf("leaf %s to %s, issuer %s to %s", leaf.NotBefore, leaf.NotAfter, ca.issuing.NotBefore, ca.issuing.NotAfter)
	case leaf.NotBefore.After(now), !leaf.NotAfter.After(now.Truncate(time.Second)):
		t.Fatalf("leaf %s to %s is not valid at %s", leaf.NotBefore, leaf.NotAfter, now)
	case leaf.NotAfter.Sub(now) > draft.profile.Lifetime():
		t.Fatalf("leaf ends %s from now, its profile says %s", leaf.NotAfter.Sub(now), draft.profile.Lifetime())
	case !leaf.NotBefore.Equal(signed.NotBefore) || !leaf.NotAfter.Equal(signed.NotAfter):
		t.Fatal("what is recorded is not what is signed")
	}
}

// Invariant 5: what was checked is what was signed, byte for byte.
func TestSignedBytesAreTheCheckedBytes(t *testing.T) {
	for _, a := range CAAlgorithms() {
		ca := newTestCA(t, a)
		p := ca.compile(t, ServiceDefault(), testEndpoints())
		draft, err := p.Draft(testSubject(t, mustCheckKey(t, mustKey(t, ECDSAP256).Public())), epoch())
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(draft.tbs)
		checked, err := draft.Check()
		if err != nil {
			t.Fatal(err)
		}
		signed, err := ca.issuer.Sign(checked)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(signed.DER)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, leaf.RawTBSCertificate) {
			t.Fatalf("%s: checked %x\nsigned %x", a, before, leaf.RawTBSCertificate)
		}
		if err := leaf.CheckSignatureFrom(ca.issuing); err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if serial, _ := certs.SerialFromInt(leaf.SerialNumber); serial != signed.Serial || serial != draft.Serial() {
			t.Fatalf("%s: recorded serial %s, signed %s", a, signed.Serial, serial)
		}
		if id, err := certs.IDFromCertificate(leaf); err != nil || id != signed.ID {
			t.Fatalf("%s: recorded identity %s, signed %s (%v)", a, signed.ID, id, err)
		}
	}
}

// Invariant 7: a draft that fails its check cannot be signed: it does not compile.
func TestUncheckedDraftDoesNotCompile(t *testing.T) {
	const file = "testdata/forge/forge.go"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("go", "build", "-buildvcs=false", "-gcflags=-e", "./testdata/forge")
	output, err := command.CombinedOutput()
	if err == nil {
		t.Fatal("it compiles")
	}
	marked := 0
	for i, line := range strings.Split(string(source), "\n") {
		if !strings.Contains(line, "// REFUSED") {
			continue
		}
		marked++
		if !strings.Contains(string(output), file+":"+strconv.Itoa(i+1)+":") {
			t.Errorf("line %d compiles: %s", i+1, strings.TrimSpace(line))
		}
	}
	if marked < 10 {
		t.Fatalf("%d marked lines", marked)
	}
	if t.Failed() {
		t.Logf("the compiler says:\n%s", output)
	}
}

// Invariant 7: nothing can be set from outside either, and zero values open no door.
func TestZeroValuesAreRefused(t *testing.T) {
	for _, v := range []any{Draft{}, Checked{}, PublicKey{}, Profile{}, Issuer{}, Responder{}, KeyList{}} {
		for i := range reflect.TypeOf(v).NumField() {
			if f := reflect.TypeOf(v).Field(i); f.IsExported() {
				t.Errorf("%T has the exported field %s", v, f.Name)
			}
		}
	}
	ca := newTestCA(t, ECDSAP256)
	if _, err := ca.issuer.Sign(Checked{}); !errors.Is(err, ErrUnchecked) {
		t.Errorf("zero Checked: %v", err)
	}
	if _, err := (Draft{}).Check(); !errors.Is(err, ErrUnchecked) {
		t.Errorf("zero Draft: %v", err)
	}
}
