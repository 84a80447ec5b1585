// Stands for Jenkins: runs a Jenkinsfile, or a step of a shared library with what it is given as JSON, and writes what the steps in it are
// given, one JSON a line. groovy jenkins.groovy FILE [GIVEN]
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

// What a block says: a call with a block opens that, `NAME = VALUE` and `NAME` are kept, and any other call is a step.
class Block extends GroovyObjectSupport {
    Map<String, Object> environ = [:]
    List<String> path = []

    Object invokeMethod(String name, Object given) {
        List<Object> arguments = given as List
        if (name == 'credentials') return "credentials:${arguments[0]}".toString()
        if (arguments && arguments[-1] instanceof Closure) {
            open(name, arguments[0..<-1], arguments[-1] as Closure)
            return null
        }
        println JsonOutput.toJson([path: path.join('/'), step: name, arguments: arguments, environ: environ])
        return null
    }

    private void open(String name, List<Object> arguments, Closure block) {
        List<String> inside = path + ([name] + arguments.findAll { it instanceof String }).join(' ')
        if (name == 'withEnv') arguments[0].each { environ[it.tokenize('=')[0]] = it.substring(it.indexOf('=') + 1) }
        block.delegate = name == 'environment' ? this : new Block(environ: environ, path: inside)
        block.resolveStrategy = Closure.DELEGATE_ONLY
        block.call()
    }

    Object getProperty(String name) { name in ['environ', 'path'] ? super.getProperty(name) : name }

    void setProperty(String name, Object value) { if (name in ['environ', 'path']) super.setProperty(name, value) else environ[name] = value }
}

abstract class Jenkins extends Script {
    def methodMissing(String name, Object given) { new Block().invokeMethod(name, given) }
}

configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: 'Jenkins')
script = new GroovyShell(this.class.classLoader, new Binding(), configuration).parse(new File(args[0]).text, 'Pipeline')
args.length > 1 ? script.call(new JsonSlurper().parseText(args[1])) : script.run()
