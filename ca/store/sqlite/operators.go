package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/handfast/handfast/ca"
	"github.com/handfast/handfast/ca/policy"
)

const (
	operatorColumns = "SELECT name, role, services, created FROM operators "
	selectOperator  = operatorColumns + "WHERE name = ?"
)

func scanOperator(from scanner) (policy.Operator, error) {
	var operator policy.Operator
	var role, services string
	var created int64
	err := from.Scan(&operator.Name, &role, &services, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return policy.Operator{}, ca.ErrNotFound
	}
	if err != nil {
		return policy.Operator{}, err
	}
	if err := parseList(services, &operator.Services); err != nil {
		return policy.Operator{}, fmt.Errorf("operator %s is damaged: %w", operator.Name, err)
	}
	operator.Role, operator.Created = policy.Role(role), fromUnix(created)
	return operator, nil
}

// Operator implements ca.Registry.
func (s *Store) Operator(ctx context.Context, name string) (policy.Operator, error) {
	return scanOperator(reader{ctx, s}.queryRow(selectOperator, name))
}

// Operators implements ca.Registry, by name.
func (s *Store) Operators(ctx context.Context) ([]policy.Operator, error) {
	rows, err := reader{ctx, s}.query(operatorColumns + "ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	operators := []policy.Operator{}
	for rows.Next() {
		operator, err := scanOperator(rows)
		if err != nil {
			return nil, err
		}
		operators = append(operators, operator)
	}
	return operators, rows.Err()
}

// AddOperator implements ca.Registry.
func (s *Store) AddOperator(ctx context.Context, operator policy.Operator) error {
	_, err := write(ctx, s, 0, func(t *tx) (struct{}, error) {
		n, err := t.changed("INSERT INTO operators (name, role, services, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			operator.Name, string(operator.Role), formatList(operator.Services), operator.Created.Unix())
		if err == nil && n == 0 {
			err = ca.ErrConflict
		}
		return struct{}{}, err
	})
	return err
}

// DeleteOperator implements ca.Registry.
func (s *Store) DeleteOperator(ctx context.Context, name string) error {
	_, err := write(ctx, s, 0, func(t *tx) (struct{}, error) {
		operator, err := scanOperator(t.queryRow(selectOperator, name))
		if err != nil {
			return struct{}{}, err
		}
		if operator.Role == policy.RoleAdmin {
			another, err := t.exists("SELECT 1 FROM operators WHERE role = ? AND name <> ? LIMIT 1", string(policy.RoleAdmin), name)
			if err != nil {
				return struct{}{}, err
			}
			if !another {
				return struct{}{}, ca.ErrConflict
			}
		}
		return struct{}{}, t.exec("DELETE FROM operators WHERE name = ?", name)
	})
	return err
}
