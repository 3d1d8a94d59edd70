package ca

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/handfast/handfast/ca/api"
	"github.com/handfast/handfast/ca/policy"
	"github.com/handfast/handfast/certs"
	"github.com/handfast/handfast/issuer"
)

// BootstrapOperator registers an operator and issues its first certificate without
// anybody's permission: for whoever holds the CA's own keys (the first operator, and
// recovery when every operator is lost).
func (c *CA) BootstrapOperator(ctx context.Context, name string, role policy.Role, csr []byte) (*Issued, error) {
	issued, err := c.addOperator(ctx, policy.Operator{Name: name, Role: role}, csr, MethodInternal, "bootstrap")
	return issued, c.answer(ctx, who{name, MethodInternal, "bootstrap"}, err)
}

// AddOperator registers an operator and issues its first certificate.
func (c *CA) AddOperator(ctx context.Context, actor policy.Operator, r api.OperatorRequest) (*Issued, error) {
	issued, err := c.addOperatorFor(ctx, actor, r)
	return issued, c.answer(ctx, who{r.Name, MethodOperator, actor.Name}, err)
}

func (c *CA) addOperatorFor(ctx context.Context, actor policy.Operator, r api.OperatorRequest) (*Issued, error) {
	if err := allow(actor, policy.ActionChangeOperators, ""); err != nil {
		return nil, err
	}
	by, err := c.operatorID(actor.Name)
	if err != nil {
		return nil, refuse(api.CodeForbidden, "", "%v", err)
	}
	operator := policy.Operator{Name: r.Name, Role: policy.Role(r.Role), Services: r.Services}
	return c.addOperator(ctx, operator, r.CSR, MethodOperator, by.String())
}

// addOperator records the certificate first: without the registration it opens nothing,
// and it is handed out only after both are durable.
func (c *CA) addOperator(ctx context.Context, operator policy.Operator, csr []byte, method Method, by string) (*Issued, error) {
	operator, err := policy.NormalizeOperator(operator)
	if err != nil {
		return nil, refuse(api.CodeRefused, "", "%v", err)
	}
	operator.Created = c.now().UTC().Truncate(time.Second)
	_, err = c.ledger.Operator(ctx, operator.Name)
	if err == nil {
		return nil, refuse(api.CodeConflict, "choose another name, or remove it first", "operator %s exists already", operator.Name)
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, ledgerError(err)
	}
	// An earlier holder's certificates must not come back to life with the name.
	if err := c.revokeOperator(ctx, by, operator.Name); err != nil {
		return nil, err
	}
	a := c.authorities.Load()
	o, err := c.decideOperator(a, operator.Name, method, by, csr)
	if err != nil {
		return nil, err
	}
	recorded, replayed, err := c.fulfil(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := c.ledger.AddOperator(ctx, operator); err != nil {
		if errors.Is(err, ErrConflict) {
			return nil, refuse(api.CodeConflict, "choose another name", "operator %s exists already", operator.Name)
		}
		return nil, ledgerError(err)
	}
	c.change(ctx, "operator_added", by, operator.Name, slog.String("role", string(operator.Role)))
	return a.handOut(recorded, replayed)
}

// RenewOperator issues the next certificate of peer, an operator that Authenticate accepted.
func (c *CA) RenewOperator(ctx context.Context, peer Peer, csr []byte, idem string) (*Issued, error) {
	issued, err := c.renewOperator(ctx, peer, csr, idem)
	return issued, c.answer(ctx, who{peer.Name, MethodRenew, peer.ID.String()}, err)
}

func (c *CA) renewOperator(ctx context.Context, peer Peer, csr []byte, idem string) (*Issued, error) {
	row, err := c.current(ctx, peer, KindOperator)
	if err != nil {
		return nil, err
	}
	key, err := c.idempotent(idem, placeOfSerial(row.Serial), []string{"renew", row.Serial.String()}, csr)
	if err != nil {
		return nil, err
	}
	a := c.authorities.Load()
	if issued, err := c.replay(ctx, a, key); issued != nil || err != nil {
		return issued, err
	}
	o, err := c.decideOperator(a, row.Name, MethodRenew, row.ID.String(), csr)
	if err != nil {
		return nil, err
	}
	o.idempotency, o.guard = key, Guard{Serial: row.Serial, Operator: row.Name}
	recorded, replayed, err := c.fulfil(ctx, o)
	if errors.Is(err, ErrConflict) {
		return nil, refuse(api.CodeForbidden, "an admin can add it", "operator %s was removed", row.Name)
	}
	if err != nil {
		return nil, err
	}
	return a.handOut(recorded, replayed)
}

func (c *CA) decideOperator(a *authorities, name string, method Method, by string, csr []byte) (order, error) {
	id, err := c.operatorID(name)
	if err != nil {
		return order{}, refuse(api.CodeRefused, "", "%v", err)
	}
	if len(csr) > api.MaxCSR {
		return order{}, refuse(api.CodeTooLarge, "", "the CSR has %d bytes; at most %d are allowed", len(csr), api.MaxCSR)
	}
	key, err := issuer.ParseCSR(csr)
	if err != nil {
		return order{}, csrError(err)
	}
	return order{
		kind: KindOperator, method: method, name: name, by: by, id: id,
		key: key, signing: a.active, profile: a.operator,
	}, nil
}

// Operators returns every operator.
func (c *CA) Operators(ctx context.Context, actor policy.Operator) ([]policy.Operator, error) {
	if err := allow(actor, policy.ActionRead, ""); err != nil {
		return nil, err
	}
	operators, err := c.ledger.Operators(ctx)
	return operators, ledgerError(err)
}

// DeleteOperator removes an operator and revokes its certificates. The last admin stays.
func (c *CA) DeleteOperator(ctx context.Context, actor policy.Operator, name string) error {
	if err := allow(actor, policy.ActionChangeOperators, ""); err != nil {
		return err
	}
	by, err := c.operatorID(actor.Name)
	if err != nil {
		return refuse(api.CodeForbidden, "", "%v", err)
	}
	err = c.ledger.DeleteOperator(ctx, name)
	switch {
	case errors.Is(err, ErrConflict):
		return refuse(api.CodeConflict, "add another admin first", "operator %s is the last admin", name)
	case errors.Is(err, ErrNotFound):
		// Its certificates may be left from a deletion that was interrupted.
		if policy.CheckOperatorName(name) == nil {
			err = c.revokeOperator(ctx, by.String(), name)
		}
		return errors.Join(err, refuse(api.CodeNotFound, "", "operator %s is not registered", name))
	case err != nil:
		return ledgerError(err)
	}
	c.change(ctx, "operator_deleted", by.String(), name)
	c.announce()
	return c.revokeOperator(ctx, by.String(), name)
}

// revokeOperator revokes whatever certificates of an operator are live, and leaves
// the publisher alone when there are none.
func (c *CA) revokeOperator(ctx context.Context, by, name string) error {
	for _, dryRun := range []bool{true, false} {
		outcome, err := c.revokeSelected(ctx, by, RevokeSelection{Operator: name}, certs.CessationOfOperation, dryRun)
		if err != nil || outcome.Total == 0 {
			return err
		}
	}
	return nil
}
