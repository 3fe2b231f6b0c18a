package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas is a folder of JSON schemas as kubeconform and editors look for them: GROUP/KIND_VERSION.json.
type schemas string

// validate is what kubeconform -strict says of an object, by the library that it uses: valid, invalid, or skipped.
func (s schemas) validate(written object) (verdict, error) {
	group, version, _ := strings.Cut(text(written["apiVersion"]), "/")
	file := filepath.Join(string(s), group, strings.ToLower(text(written["kind"]))+"_"+version+".json")
	if _, err := os.Stat(file); err != nil {
		return verdict{"skipped", "there is no " + file}, nil
	}
	schema, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		return verdict{}, err
	}
	if err := schema.Validate(map[string]any(written)); err != nil {
		return verdict{"invalid", err.Error()}, nil
	}
	return verdict{"valid", ""}, nil
}
