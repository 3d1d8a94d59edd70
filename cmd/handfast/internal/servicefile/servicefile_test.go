package servicefile_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/cmd/handfast/internal/output"
	"github.com/handfast/handfast/cmd/handfast/internal/servicefile"
)

func domain(t testing.TB) certs.TrustDomain {
	t.Helper()
	td, err := certs.ParseTrustDomain("example.org")
	if err != nil {
		t.Fatal(err)
	}
	return td
}

func TestTheExampleInTheHelpIsRead(t *testing.T) {
	services, err := servicefile.Parse("example", []byte(servicefile.Example), domain(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(services) != 2 || services[0].DNSNames[0] != "shop.example.org" || services[1].Callers[0] != "*" || time.Duration(services[1].TTL) != 30*time.Minute || time.Duration(services[1].MaxSilence) != 5*time.Minute {
		t.Fatalf("read %+v", services)
	}
}

func TestAListingIsReadBack(t *testing.T) {
	td := domain(t)
	id, err := td.ID("team/shop")
	if err != nil {
		t.Fatal(err)
	}
	want := api.Service{
		Name: "team/shop", ID: id, DNSNames: []string{"a.example"}, IPs: []string{"10.0.0.1", "::1"}, Callers: []string{"*"}, Profile: "p",
		TTL: api.Duration(90 * time.Second), MaxSilence: api.Duration(5 * time.Minute), Version: 1 << 40, Created: time.Unix(1, 0).UTC(), Updated: time.Unix(2, 0).UTC(),
	}
	var listing bytes.Buffer
	if err := output.WriteData(&listing, output.YAML, api.ServiceList{Services: []api.Service{want}}); err != nil {
		t.Fatal(err)
	}
	got, err := servicefile.Parse("listing", listing.Bytes(), td)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, listing.String())
	}
	// What the CA sets is not sent back.
	want.ID, want.Version, want.Created, want.Updated = certs.ID{}, 0, time.Time{}, time.Time{}
	if a, b := asJSON(t, got[0]), asJSON(t, want); len(got) != 1 || a != b {
		t.Fatalf("read %s; want %s", a, b)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whatever is accepted names each service once, by a name that can be a SPIFFE ID's path, and has no
// negative lifetime.
func FuzzParse(f *testing.F) {
	td := domain(f)
	f.Add([]byte(servicefile.Example))
	f.Add([]byte("services: [{name: a, ttl: -1h}]"))
	f.Add([]byte("services: null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		services, err := servicefile.Parse("fuzz", data, td)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, s := range services {
			if _, err := td.ID(s.Name); err != nil || seen[s.Name] || s.TTL < 0 || s.MaxSilence < 0 {
				t.Fatalf("accepted %+v (seen %v, %v)", s, seen[s.Name], err)
			}
			seen[s.Name] = true
		}
	})
}
