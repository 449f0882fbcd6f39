package clustersql

import (
	"os"

	"github.com/EnumApps/clustersql/internal/conffile"
)

// Mistakes returns all for which [Load] refuses a configuration file, where Load
// returns only the first, in the order of the lines. It is for tools that look at
// files. lookup finds the values of the variables; nil stands for [os.LookupEnv].
// Mistakes dials nothing, and no error holds a password. What cannot be seen
// because of another mistake, such as one of the syntax, is not among them.
func Mistakes(path string, lookup func(name string) (value string, found bool)) []error {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	return conffile.Mistakes(path, fileKeys, func(f *conffile.File) error {
		clusters, err := specs(f)
		if err != nil {
			return err
		}
		if err := f.Expand(lookup); err != nil {
			return err
		}
		for _, spec := range clusters {
			d, err := spec.build()
			if err != nil {
				return err
			}
			d.Close()
		}
		return nil
	})
}
