package policy

import (
	"fmt"
	"slices"

	"github.com/handfast/handfast/certs"
)

// Action is something that an operator asks the CA to do.
type Action string

// The actions. One that is not listed here is denied to everybody.
const (
	ActionRead            Action = "read"             // listings, certificates, status, metrics
	ActionToken           Action = "token"            // mint an enrolment token for a service
	ActionIssue           Action = "issue"            // issue a certificate of a service
	ActionRevoke          Action = "revoke"           // revoke certificates of a service; without a service, any certificate
	ActionChangeServices  Action = "change_services"  // create, change and remove services
	ActionChangeOperators Action = "change_operators" // create and remove operators
)

// Denied is Allow's refusal.
type Denied struct {
	Operator Operator
	Action   Action
	Service  string
}

// Error says who may not do what.
func (d *Denied) Error() string {
	if d.Service == "" {
		return fmt.Sprintf("operator %s (role %s) may not %s", d.Operator.Name, d.Operator.Role, d.Action)
	}
	return fmt.Sprintf("operator %s (role %s) may not %s for service %s", d.Operator.Name, d.Operator.Role, d.Action, d.Service)
}

// Allow reports whether operator may do action. service is what the action is about,
// "" where it is about none or about all. It fails closed: an unknown role, an
// unknown action and the zero Operator are denied. The error is a *Denied.
func Allow(operator Operator, action Action, service string) error {
	if CheckOperatorName(operator.Name) == nil && allowed(operator, action, service) {
		return nil
	}
	return &Denied{Operator: operator, Action: action, Service: service}
}

func allowed(operator Operator, action Action, service string) bool {
	switch action {
	case ActionRead:
		return operator.Role == RoleReader || operator.Role == RoleIssuer || operator.Role == RoleAdmin
	case ActionToken, ActionIssue, ActionRevoke:
		if operator.Role == RoleIssuer {
			return service != "" && slices.Contains(operator.Services, service)
		}
		return operator.Role == RoleAdmin
	case ActionChangeServices, ActionChangeOperators:
		return operator.Role == RoleAdmin
	default:
		return false
	}
}

// CallerIDs resolves service's callers to SPIFFE IDs of the trust domain, in order;
// AnyCaller stays as it is. registered tells whether a service is registered: a caller that
// is not, or no longer, resolves to nothing, so that removing a service ends its rights at once.
func CallerIDs(td certs.TrustDomain, service Service, registered func(name string) (bool, error)) ([]string, error) {
	ids := make([]string, 0, len(service.Callers))
	for _, caller := range service.Callers {
		if caller == AnyCaller {
			ids = append(ids, AnyCaller)
			continue
		}
		id, err := ServiceID(td, caller)
		if err != nil {
			return nil, fmt.Errorf("callers of %s: %w", service.Name, err)
		}
		ok, err := registered(caller)
		if err != nil {
			return nil, fmt.Errorf("callers of %s: %w", service.Name, err)
		}
		if ok {
			ids = append(ids, id.String())
		}
	}
	return ids, nil
}
