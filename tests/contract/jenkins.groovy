// Stands for Jenkins: runs a Jenkinsfile as Groovy, and writes what its steps are given, one JSON a line. groovy jenkins.groovy JENKINSFILE
import groovy.json.JsonOutput

// What a block says: a call with a block opens that, `NAME = VALUE` and `NAME` are kept, and any other call is a step.
class Block extends GroovyObjectSupport {
    Map<String, Object> environ = [:]
    List<String> path = []

    Object invokeMethod(String name, Object given) {
        List<Object> arguments = given as List
        if (name == 'credentials') return "credentials:${arguments[0]}".toString()
        if (arguments && arguments[-1] instanceof Closure) {
            Closure block = arguments.remove(arguments.size() - 1) as Closure
            List<String> inside = path + ([name] + arguments.findAll { it instanceof String }).join(' ')
            block.delegate = name == 'environment' ? this : new Block(environ: environ, path: inside)
            block.resolveStrategy = Closure.DELEGATE_ONLY
            block.call()
            return null
        }
        println JsonOutput.toJson([path: path.join('/'), step: name, arguments: arguments, environ: environ])
        return null
    }

    Object getProperty(String name) { name in ['environ', 'path'] ? super.getProperty(name) : name }

    void setProperty(String name, Object value) { if (name in ['environ', 'path']) super.setProperty(name, value) else environ[name] = value }
}

abstract class Jenkins extends Script {
    def pipeline(Closure block) { new Block().invokeMethod('pipeline', [block]) }
}

configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: "Jenkins")
new GroovyShell(this.class.classLoader, new Binding(), configuration).evaluate(new File(args[0]).text, "Pipeline")
