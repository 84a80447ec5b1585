// A step for Jenkins: runs salt-ci, as the API itself serves it. It is vars/salt.groovy in a shared library; in a pipeline:
//   salt url: 'https://salt.example.org:8443', credentials: 'salt-api', arguments: ['web*', 'app', '--deadline=1200']
// Needs Python 3.8 or later and curl on the agent. credentials: a user name and a password. command: run, follow, cancel or relaunch, if not apply.
def call(Map given) {
    // In single quotes each argument is one word for the shell, whatever is in it.
    String words = ([given.command ?: 'apply'] + given.arguments).collect { "'" + it.replace("'", "'\\''") + "'" }.join(' ')
    withCredentials([usernamePassword(credentialsId: given.credentials, usernameVariable: 'SALT_API_USER', passwordVariable: 'SALT_API_PASSWORD')]) {
        withEnv(["SALT_API_URL=${given.url}"]) {
            sh 'set -eu\ncurl --fail --silent --show-error --output ci.py "$SALT_API_URL/v1/ci.py"\npython3 ci.py ' + words
        }
    }
}
