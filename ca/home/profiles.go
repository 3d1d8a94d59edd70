package home

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/handfast/handfast/issuer"
)

// builtIn are the names of profiles that the CA keeps for itself.
var builtIn = []string{issuer.Operator().Name, issuer.Server().Name, issuer.OCSPResponder().Name, issuer.Feed().Name}

var profileName = regexp.MustCompile(`\A[a-z0-9_-]{1,63}\z`)

func (v *validator) profiles() {
	if len(v.raw.Profiles) == 0 {
		v.add(path{"profiles"}, "missing; write at least one, such as  default: {lifetime: 1h}")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(v.raw.Profiles)) {
		v.out.Profiles = append(v.out.Profiles, v.profile(name, v.raw.Profiles[name]))
	}
	v.out.DefaultProfile = orElse(v.raw.DefaultProfile, issuer.ServiceDefault().Name)
	if _, ok := v.raw.Profiles[v.out.DefaultProfile]; !ok {
		v.add(path{"default_profile"}, "%q is none of the profiles (%s)", v.out.DefaultProfile, strings.Join(slices.Sorted(maps.Keys(v.raw.Profiles)), ", "))
	}
}

func (v *validator) profile(name string, raw rawProfile) issuer.ProfileConfig {
	where := path{"profiles", name}
	if slices.Contains(builtIn, name) {
		v.add(where, "the name is the CA's own; choose another one")
	}
	if !profileName.MatchString(name) {
		v.add(where, "use 1 to 63 lower-case letters, digits, '-' and '_' for the name")
	}
	p := issuer.ServiceDefault()
	p.Name = name
	p.TrustDomain = v.out.TrustDomain
	p.LintEach = raw.LintEach
	p.Lifetime = v.duration(where.child("lifetime"), raw.Lifetime, p.Lifetime, issuer.MinLifetime, issuer.MaxLifetime)
	p.Backdate = v.duration(where.child("backdate"), raw.Backdate, issuer.DefaultBackdate, time.Second, issuer.MaxBackdate)
	p.Grace = v.duration(where.child("grace"), raw.Grace, p.Grace, 0, issuer.MaxGrace)
	p.RenewAfter = v.duration(where.child("renew_after"), raw.Renew, 0, time.Second, p.Lifetime-time.Second)
	p.MustStaple = raw.Staple
	p.NoRevAvailBelow = v.duration(where.child("no_rev_avail_below"), raw.NoRev, 0, issuer.MinLifetime, issuer.MaxNoRevAvailBelow)
	if p.MustStaple && p.NoRevAvailBelow > 0 {
		v.add(where.child("must_staple"), "it demands OCSP responses, and no_rev_avail_below says that there are none; choose one")
	}
	for i, key := range raw.Keys {
		algorithm, err := issuer.ParseAlgorithm(key)
		if err != nil || key == "" {
			v.add(where.child("keys", i), "%q is no key algorithm (%v)", key, issuer.Algorithms())
			continue
		}
		if slices.Contains(p.KeyAlgorithms, algorithm) {
			v.add(where.child("keys", i), "%s is there twice", key)
		}
		p.KeyAlgorithms = append(p.KeyAlgorithms, algorithm)
	}
	if raw.Usages != nil {
		p.ServerAuth = v.has(where.child("usages"), raw.Usages, "server", "client")
		p.ClientAuth = slices.Contains(raw.Usages, "client")
		if !p.ServerAuth && !p.ClientAuth {
			v.add(where.child("usages"), "a certificate without any use; write [server, client], or one of them")
		}
	}
	if raw.SANs != nil {
		p.NoDNSNames = !v.has(where.child("sans"), raw.SANs, "dns", "ip")
		p.NoIPs = !slices.Contains(raw.SANs, "ip")
	}
	return p
}

// has reports whether the first known word is in list, and complains about unknown ones.
func (v *validator) has(where path, list []string, known ...string) bool {
	for i, word := range list {
		if !slices.Contains(known, word) {
			v.add(where.child(i), "%q is unknown; use %s", word, strings.Join(known, " or "))
		}
	}
	return slices.Contains(list, known[0])
}
